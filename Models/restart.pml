/* Restart after a reset: QUEUES queues, each with its owner, and a thread that resets the device
 * RESETS times, whenever it runs. An owner submits OPERATIONS, kicks, looks. With LEFT_OUT a queue
 * that has not swept in time is left out of the restart, and comes back with the next one.
 *
 * steps: kick followReset sweep restartPositions resumeIfRestarted swept sweptIfLast
 * steps: restartIfAllSwept leaveOutUnswept restart stop enable lookForWork
 * own: accept delivered look
 */
#ifndef QUEUES
#define QUEUES 2
#endif
#ifndef OPERATIONS
#define OPERATIONS 2
#endif
#ifndef RESETS
#define RESETS 1
#endif
#ifdef STOPPED_TWICE
#define RESETTERS 2
#else
#ifndef RESETTERS
#define RESETTERS 1
#endif
#endif
#define RUNNING 0
#define STOPPING 1
#define STOPPED 2

/* The device's control block; `locked` is its mutex. */
byte phase = RUNNING;
byte epochWord;
bool isSwept[QUEUES];
byte enabledEpoch[QUEUES];
bool locked;
byte resets;

/* The device itself: which queues it serves, and what it sees in their rings. */
bool isEnabled[QUEUES];
byte ringAvail[QUEUES];   /* avail.idx in the ring's memory */
byte deviceSeen[QUEUES];  /* how far the device has taken */
byte ringUsed[QUEUES];

/* An owner's queue. */
byte epoch[QUEUES];
bool isStopped[QUEUES];
byte availShadow[QUEUES];
byte availPublished[QUEUES];
byte lastUsed[QUEUES];

/* Ghosts. */
byte accepted[QUEUES];
byte ended[QUEUES];
byte finished;
byte resettersDone;

inline lookForWork(q) {
  if
  :: epochWord != epoch[q] -> followReset(q)
  :: else -> resumeIfRestarted(q)
  fi
}

inline followReset(q) {
  current = epochWord;
  epoch[q] = current;
  isStopped[q] = true;
  sweep(q);
  restartPositions(q);
  swept(q, current);
  resumeIfRestarted(q);
  current = 0
}

/* Each request in flight, published or not, ends once. */
inline sweep(q) {
  atomic {
    ended[q] = ended[q] + (availShadow[q] - lastUsed[q]);
    assert(ended[q] <= accepted[q]);
    availShadow[q] = lastUsed[q];
    assert(ended[q] == accepted[q])
  }
}

inline restartPositions(q) {
#ifndef POSITIONS_KEPT
  atomic { availShadow[q] = 0; availPublished[q] = 0; lastUsed[q] = 0 }
#else
  availPublished[q] = availShadow[q]
#endif
}

inline swept(q, e) {
  if
#ifdef SWEPT_OF_ANY_EPOCH
  :: true -> sweptIfLast(q)
#else
  :: e == epochWord -> sweptIfLast(q)
  :: else
#endif
  fi
}

inline sweptIfLast(q) {
  atomic { !locked -> locked = true };
  isSwept[q] = true;
  locked = false;
  restartIfAllSwept()
}

#if QUEUES > 1
#define allSwept (isSwept[0] && isSwept[1])
#else
#define allSwept (isSwept[0])
#endif

#ifdef RESTART_UNSWEPT
#define restartsUnswept true
#else
#define restartsUnswept false
#endif

inline restartIfAllSwept() { restart(allSwept || restartsUnswept) }

inline leaveOutUnswept() { restart(true) }

/* The device gets the queues that were swept; if it stands still and it is time, both looked at
 * under the lock that a stop moves the epoch under. */
inline restart(isTime) {
  if
  :: phase == STOPPED ->
#ifdef TIME_BEFORE_LOCK
    isFull = isTime;
    atomic { !locked -> locked = true };
    if
    :: phase == STOPPED && isFull ->
#else
    atomic { !locked -> locked = true };
    if
    :: phase == STOPPED && (isTime) ->
#endif
      enable(0);
#if QUEUES > 1
      enable(1);
#endif
      phase = RUNNING
    :: else
    fi;
    locked = false;
    isFull = false
  :: else
  fi
}

/* prepare() zeroes the ring, then the device is given it; what the owner still has there is lost. */
inline enable(i) {
  if
#ifdef LEFT_OUT_ENABLED
  :: true ->
#else
  :: isSwept[i] ->
#endif
    atomic {
      assert(availShadow[i] == lastUsed[i] || epoch[i] == epochWord && enabledEpoch[i] == epochWord);
      ringAvail[i] = 0;
      ringUsed[i] = 0;
      deviceSeen[i] = 0;
      isEnabled[i] = true;
      enabledEpoch[i] = epochWord
    }
#ifndef LEFT_OUT_ENABLED
  :: else
#endif
  fi
}

inline resumeIfRestarted(q) {
  if
#ifndef NOT_RESUMED
  :: isStopped[q] && enabledEpoch[q] == epoch[q] && epochWord == epoch[q] -> isStopped[q] = false
#endif
  :: else
  fi
}

/* One thread wins; status 0 is written and read back; then the epoch moves. */
inline stop() {
  atomic {
    isWinner = (phase == RUNNING);
#ifdef STOPPED_AT_ONCE
    if :: isWinner -> phase = STOPPED :: else fi
#else
    if :: isWinner -> phase = STOPPING :: else fi
#endif
  };
#ifdef STOPPED_TWICE
  isWinner = true;
#endif
  if
  :: isWinner ->
#ifndef EPOCH_BEFORE_STATUS
    atomic { isEnabled[0] = false; isEnabled[QUEUES - 1] = false };
#endif
    atomic { !locked -> locked = true };
    atomic { isSwept[0] = false; isSwept[QUEUES - 1] = false; epochWord++; phase = STOPPED };
    locked = false;
#ifdef EPOCH_BEFORE_STATUS
    atomic { isEnabled[0] = false; isEnabled[QUEUES - 1] = false };
#endif
    restartIfAllSwept()
  :: else
  fi;
  isWinner = false
}

inline kick(q) {
  if
#ifdef KICK_OF_OLD_EPOCH
  :: atomic { availShadow[q] != availPublished[q] -> assert(epochWord == epoch[q]) }
#else
  :: atomic { availShadow[q] != availPublished[q] && epochWord == epoch[q] ->
      assert(epochWord == epoch[q]) }
#endif
    /* One that is under way when the epoch moves still publishes and rings: it is excused. */
    availPublished[q] = availShadow[q];
    ringAvail[q] = availPublished[q]
  :: else
  fi
}

/* A submission: the fast path's gate is freeCount, which a stopped queue has none of. */
inline accept(q) {
  atomic { accepted[q]++; availShadow[q]++ }
}

inline look(q) {
  lookForWork(q);
  if
  :: !isStopped[q] ->
    atomic {
      assert(epochWord != epoch[q] || ringUsed[q] - lastUsed[q] <= availPublished[q] - lastUsed[q]);
      do
      :: lastUsed[q] < ringUsed[q] && lastUsed[q] < availPublished[q] ->
        lastUsed[q]++;
        ended[q]++;
        assert(ended[q] <= accepted[q])
      :: else -> break
      od
    }
  :: else
  fi
}

#ifdef LEFT_OUT
#define isThrough(q) (accepted[q] == OPERATIONS && !isStopped[q] || isStopped[q])
#else
#define isThrough(q) (accepted[q] == OPERATIONS && !isStopped[q])
#endif

proctype owner(byte q) {
  byte current;
  bool isFull;
  do
  :: accepted[q] < OPERATIONS && !isStopped[q] -> accept(q); kick(q)
  :: epochWord != epoch[q] || isStopped[q] && enabledEpoch[q] == epoch[q] ||
     !isStopped[q] && (ringUsed[q] > lastUsed[q] || availShadow[q] != availPublished[q]) ->
    look(q);
    kick(q)
#ifdef LEFT_OUT
  :: isStopped[q] && epoch[q] == epochWord -> leaveOutUnswept()
#endif
  :: accepted[q] == ended[q] && resettersDone == RESETTERS && epochWord == epoch[q] && isThrough(q) -> break
  od;
  finished++
}

proctype resetter() {
  bool isWinner, isFull;
  do
  :: resets < RESETS && phase == RUNNING -> resets++; stop()
  :: true -> break
  od;
  resettersDone++
}

/* The device serves what is in flight by the owner's books: all else is DMA to freed memory. */
#define isInFlight(q) (lastUsed[q] <= deviceSeen[q] && deviceSeen[q] < availShadow[q])

proctype device() {
  byte q;
endIdle:
  do
  :: atomic { isEnabled[0] && deviceSeen[0] < ringAvail[0] ->
      assert(epochWord != epoch[0] || isInFlight(0));
      deviceSeen[0]++;
      ringUsed[0]++
    }
#if QUEUES > 1
  :: atomic { isEnabled[1] && deviceSeen[1] < ringAvail[1] ->
      assert(epochWord != epoch[1] || isInFlight(1));
      deviceSeen[1]++;
      ringUsed[1]++
    }
#endif
  od
}

init {
  atomic {
    isEnabled[0] = true;
    isSwept[0] = true;
#if QUEUES > 1
    isEnabled[1] = true;
    isSwept[1] = true;
    run owner(1);
#endif
    run owner(0);
    run device();
    run resetter();
#if RESETTERS > 1
    run resetter()
#endif
  }
}

ltl ends { <> (finished == QUEUES) }
