/* One queue and its owner: a dio with a cursor, plain operations, a synchronous durable call, kept
 * Completions, on a ring of K slots. The device completes in any order and may fail any bio; with
 * DUPLICATE it also says once that a slot is used which is not, or is used by a request that it has
 * not touched yet.
 *
 * The owner is one thread: what it does between two looks at the used ring is one step. A poll
 * that finds nothing changes nothing, so that here it blocks: what would spin for ever is an invalid
 * end state, or never done. With LIVENESS the owner doesn't repeat what was refused.
 *
 * steps: takeSlot freeSlot addPlain addNextBio advanceCursor addFixed stall unstall retryStalled
 * steps: kick reapOne endPlain endPart refill emptyCursor dropDio beginFlushStage finish keep
 * steps: takeKept admit begin next finishWaiting violate hasSlot lookForWork
 * own: fill deliver complete
 */
#ifndef K
#define K 2 /* slots */
#endif
#ifndef OPERATIONS
#define OPERATIONS 2 /* asynchronous; the first has a cursor, the others are plain */
#endif
#ifndef CURSOR
#define CURSOR 2 /* bios of the first */
#endif
#ifndef BIOS
#define BIOS 3 /* bios of the synchronous call */
#endif
#define SYNC OPERATIONS
#define ALL (OPERATIONS + 1)
#define POISON 255
#define UNEXPECTED 9

byte slot[K];         /* 0 free, 1 owned */
byte owner[K];
bool isAvailable[K];  /* in avail.ring, not published */
bool isPublished[K];  /* the device's */
byte status[K];
bool isFlush[K];
bool isServed[K];     /* ghost: the device has done it */
chan used = [K + 1] of { byte };
short freeCount = K;

byte count[ALL];
byte remaining[ALL];
byte code[ALL];
bool isActive[ALL];
bool isStalled[ALL];
bool isFlushing[ALL];
chan kept = [OPERATIONS + 2] of { byte };
bool isBroken;

byte ended[ALL];      /* ghost: Completions delivered and results returned */
byte firstError[ALL]; /* ghost: of the bio that was reaped first with one */
byte written[ALL];    /* ghost: data bios reaped */
bool sawFlush;        /* ghost: the FLUSH was reaped */
bool isAccepted[ALL];
chan finished = [ALL + 1] of { byte }; /* ghost: the order in which operations ended */
bool wasBusy;
byte sinceBusy;
byte rings;
bool isDone;

#define hasSlot (slot[0] == 0 || slot[K > 1] == 0 || slot[(K > 2) * 2] == 0)
#define lookForWork (len(used) > 0)
#define unpublished \
  (isAvailable[0] || isAvailable[K > 1] || isAvailable[(K > 2) * 2])

inline takeSlot(s) {
  s = 0;
  do
  :: s < K && slot[s] != 0 -> s++
  :: else -> break
  od;
  assert(s < K);
  slot[s] = 1;
  freeCount--
}

inline freeSlot(s) {
  assert(slot[s] == 1 && !isPublished[s] && !isAvailable[s]);
  slot[s] = 0;
  freeCount++
}

/* header, descriptors, status = poison, avail.ring */
inline fill(s, d, flush) {
  owner[s] = d;
  isFlush[s] = flush;
  status[s] = POISON;
  isServed[s] = false;
  isAvailable[s] = true
#ifdef KICK_PER_BIO
  ;
  kick()
#endif
}

inline addPlain(d) {
  takeSlot(s);
  fill(s, d, false);
  count[d] = 1
}

inline addNextBio(d) {
  takeSlot(s);
  fill(s, d, false);
  remaining[d]--;
  if
  :: remaining[d] > 0 || d == SYNC ->
#ifndef REFERENCE_FROM_ZERO
    assert(count[d] > 0);
#endif
    count[d]++
  :: else
  fi
}

inline advanceCursor(d) {
  do
  :: remaining[d] > 0 && hasSlot -> addNextBio(d)
  :: else -> break
  od;
  if
  :: remaining[d] > 0 && !isStalled[d] && count[d] == 1 -> stall(d)
  :: else
  fi
}

inline addFixed(d) {
  if
  :: hasSlot -> takeSlot(s); fill(s, d, true)
  :: else -> stall(d)
  fi
}

inline stall(d) {
  assert(!isStalled[d]);
  isStalled[d] = true
}

inline unstall(d) { isStalled[d] = false }

/* Only the synchronous call can stall here: it has no slot of its own to its FLUSH. */
inline retryStalled() {
  if
  :: isStalled[SYNC] && hasSlot ->
    unstall(SYNC);
    if
    :: isFlushing[SYNC] -> addFixed(SYNC)
    :: else -> advanceCursor(SYNC)
    fi
  :: else
  fi
}

inline kick() {
  if
  :: unpublished ->
    rings++;
    i = 0;
    do
    :: i < K ->
      if
      :: isAvailable[i] -> isAvailable[i] = false; isPublished[i] = true
      :: else
      fi;
      i++
    :: else -> break
    od;
    i = 0
  :: else
  fi
}

inline reapOne() {
  used?s;
  if
#ifndef OWNER_UNCHECKED
  :: slot[s] == 0 || isAvailable[s] && status[s] != POISON -> violate()
#endif
#ifndef STATUS_UNCHECKED
  :: slot[s] == 1 && status[s] == POISON -> violate()
#endif
  :: else ->
    assert(slot[s] == 1);
    assert(isServed[s]); /* what is reaped was done by the device */
    d = owner[s];
    if
    :: status[s] != 0 && firstError[d] == 0 -> firstError[d] = status[s]
    :: else
    fi;
    if
    :: isFlush[s] -> sawFlush = true
    :: else -> written[d]++
    fi;
    if
    :: d != SYNC && d > 0 -> endPlain(d)
    :: else -> endPart(d)
    fi
  fi;
  d = 0; s = 0
}

inline violate() {
  isBroken = true
}

inline endPlain(d) {
  code[d] = status[s];
#ifndef KEPT_HOLDS_SLOT
  freeSlot(s);
#endif
  assert(count[d] > 0);
  count[d]--;
  if
  :: count[d] == 0 -> isActive[d] = false; keep(d)
  :: else
  fi
}

inline endPart(d) {
#ifdef LAST_ERROR_WINS
  if :: status[s] != 0 -> code[d] = status[s] :: else fi;
#else
#ifdef LAST_ERROR_LOST
  if :: status[s] != 0 && code[d] == 0 && count[d] > 1 + (d == SYNC) -> code[d] = status[s]
     :: else fi;
#else
#ifdef FLUSH_ERROR_LOST
  if :: status[s] != 0 && code[d] == 0 && !isFlush[s] -> code[d] = status[s] :: else fi;
#else
  if :: status[s] != 0 && code[d] == 0 -> code[d] = status[s] :: else fi;
#endif
#endif
#endif
#ifdef SUCCESS_OVERWRITES
  if :: status[s] == 0 -> code[d] = 0 :: else fi;
#endif
#ifndef PINS_FIRST_SLOT
  freeSlot(s);
#else
  if :: remaining[d] == 0 -> freeSlot(s) :: else fi;
#endif
  refill(d);
  dropDio(d)
}

#ifdef REFILL_AFTER_ERROR
#define failed(d) false
#else
#define failed(d) (code[d] != 0)
#endif

inline refill(d) {
  if
  :: remaining[d] > 0 && failed(d) -> emptyCursor(d)
  :: remaining[d] > 0 && !failed(d) ->
    assert(isActive[d]);
    assert(firstError[d] == 0); /* rule 6: an error empties the cursor */
    advanceCursor(d)
  :: else
  fi
}

inline emptyCursor(d) {
  remaining[d] = 0;
  if :: isStalled[d] -> unstall(d) :: else fi;
#ifndef CURSOR_KEEPS_REFERENCE
  if
#ifdef CURSOR_DROPS_FOR_CALLER
  :: true -> dropDio(d)
#else
  :: d != SYNC -> dropDio(d)
  :: else
#endif
  fi
#endif
}

#ifdef FLUSH_SKIPPED
#define needsFlush(d) false
#else
#ifdef FLUSH_AFTER_ERROR
#define needsFlush(d) (d == SYNC && !isFlushing[d])
#else
#define needsFlush(d) (d == SYNC && !isFlushing[d] && code[d] == 0)
#endif
#endif

inline dropDio(d) {
  assert(count[d] > 0 && isActive[d]);
  count[d]--;
  if
#ifdef FINISHED_AT_ONE
  :: count[d] == 1 && d != SYNC -> finish(d)
#endif
  :: count[d] == 0 ->
    if
    :: needsFlush(d) -> beginFlushStage(d)
    :: else -> finish(d)
    fi
  :: else
  fi
}

inline beginFlushStage(d) {
  assert(written[d] == BIOS); /* rule 8: all data is there, without an error */
  assert(firstError[d] == 0);
  isFlushing[d] = true;
  count[d] = 2; /* the bio's and the caller's */
  addFixed(d)
}

inline finish(d) {
#ifdef RETURNED_AND_NOTIFIED
  isActive[d] = false; keep(d)
#else
  if
  :: d != SYNC -> isActive[d] = false; keep(d)
  :: else
  fi
#endif
}

inline keep(d) {
  assert(len(kept) <= K);
#ifndef CREDIT_FORGOTTEN
  freeCount--;
#endif
#ifdef KEPT_HOLDS_SLOT
  if :: d > 0 -> freeCount++ :: else fi;
#endif
  kept!d;
  finished!d
}

inline takeKept() {
#ifdef KEPT_NEWEST_FIRST
  if
  :: len(kept) == 2 -> kept?d; kept!d; kept?d
  :: else -> kept?d
  fi;
#else
  kept?d;
#endif
#ifndef CREDIT_FORGOTTEN
  freeCount++;
#endif
#ifdef KEPT_HOLDS_SLOT
  if
  :: d > 0 ->
    i = 0;
    do
    :: i < K ->
      if
      :: slot[i] == 1 && owner[i] == d && !isPublished[i] && !isAvailable[i] ->
        slot[i] = 0; break
      :: else -> i++
      fi
    :: else -> break
    od;
    i = 0
  :: else
  fi;
#endif
  deliver(d);
  d = 0
}

inline deliver(d) {
  assert(finished?[eval(d)]); /* first in, first out: the oldest is at the head */
  finished?eval(d);
  ended[d]++;
  assert(ended[d] == 1);
  assert(code[d] == firstError[d]);
  if
  :: wasBusy -> sinceBusy++
  :: else
  fi
}

/* The asynchronous submission of d: checks, a free slot last; then bios, as many as fit. */
inline admit(d) {
  old = rings;
  if
  :: freeCount <= 0 || !hasSlot ->
    assert(!(wasBusy && sinceBusy > 0)); /* rule 9: one delivered, one more accepted */
    wasBusy = true
  :: else ->
    assert(len(kept) < K); /* rule 9: what is kept holds its credit */
    wasBusy = false;
    sinceBusy = 0;
    isAccepted[d] = true;
    isActive[d] = true;
    if
    :: d > 0 -> addPlain(d)
    :: else -> begin(d, CURSOR)
    fi;
    submitted++
  fi;
  assert(old == rings); /* rule 7: a submission rings nothing */
  s = 0; old = 0
}

inline begin(d, bios) {
#ifdef REFERENCE_FROM_ZERO
  count[d] = 0;
#else
  count[d] = 1;
#endif
  remaining[d] = bios;
  advanceCursor(d)
}

inline next() {
  retryStalled();
#ifdef NEWER_BEFORE_KEPT
  if
  :: len(used) > 0 && !isBroken && len(kept) > 0 ->
    reapOne();
    do
    :: len(kept) > 1 -> kept?d; kept!d; takeKept(); break
    :: else -> break
    od
  :: else
  fi;
#endif
  if
  :: len(kept) > 0 -> takeKept()
  :: else ->
    do
    :: len(kept) == 0 && len(used) > 0 && !isBroken -> reapOne()
    :: else -> break
    od;
#ifndef KICK_FORGOTTEN
    kick();
#endif
    if
    :: len(kept) > 0 -> takeKept()
    :: else
    fi
  fi;
  d = 0; s = 0
}

#define isWaiting(d) (count[d] > 1 || remaining[d] > 0 || isStalled[d])

inline finishWaiting(d) {
  do
  :: kick();
    do
    :: isWaiting(d) && !isBroken ->
      retryStalled();
#ifndef KICK_SKIPPED
      kick();
#endif
      if
      :: isWaiting(d) ->
        lookForWork -> reapOne()
      :: else
      fi;
      if
      :: remaining[d] > 0 && !isStalled[d] && !isBroken ->
        if
        :: code[d] == 0 -> advanceCursor(d)
        :: else -> emptyCursor(d)
        fi
      :: else
      fi
    :: else -> break
    od;
    if :: isBroken -> break :: else fi;
    dropDio(d);
    if :: count[d] == 0 -> break :: else fi
  od
}

#define isOver (called && submitted == OPERATIONS && len(kept) == 0 && len(used) == 0 && !isActive[0] && !isActive[OPERATIONS > 1] && !isActive[(OPERATIONS > 2) * 2] && !isActive[SYNC])
#define hasToPoll (!isBroken && !isOver && (len(kept) > 0 || len(used) > 0 || unpublished))

#ifdef LIVENESS
#define maySync (submitted == OPERATIONS)
#define mayAdmit (!wasBusy || sinceBusy > 0)
#else
#define maySync true
#define mayAdmit true
#endif

active proctype queueOwner() {
  byte d, s, i, old, submitted;
  bool called;
  do
  :: isBroken -> break
  :: atomic { !isBroken && submitted < OPERATIONS && mayAdmit -> admit(submitted) }
  :: atomic {
      !isBroken && !called && maySync -> called = true;
      /* begin(): reap until a slot is free */
      do
      :: !hasSlot && !isBroken ->
        kick();
        lookForWork -> reapOne()
      :: else -> break
      od;
      if
      :: isBroken -> skip
      :: else ->
        isAccepted[SYNC] = true;
        isActive[SYNC] = true;
        begin(SYNC, BIOS);
        finishWaiting(SYNC);
        if
        :: isBroken -> skip
        :: else ->
          assert(isActive[SYNC] && count[SYNC] == 0);
          assert(code[SYNC] == firstError[SYNC]);
          assert(code[SYNC] != 0 || written[SYNC] == BIOS && sawFlush);
          isActive[SYNC] = false;
          ended[SYNC]++;
          assert(ended[SYNC] == 1)
        fi
      fi;
      d = 0; s = 0
    }
  :: atomic { hasToPoll -> next() }
#ifndef USER_FORGETS
  :: atomic { !isBroken && unpublished -> kick() }
#endif
  :: atomic { !isBroken && isOver -> break }
  od;
  atomic {
    i = 0;
    do
    :: i < ALL && !isBroken -> assert(ended[i] == 1 && !isActive[i] && count[i] == 0); i++
    :: else -> break
    od;
    assert(isBroken || freeCount == K);
#ifndef DUPLICATE
    assert(!isBroken);
#endif
    isDone = true
  }
}

inline complete(s) {
  isPublished[s] = false;
  isServed[s] = true;
  if
  :: status[s] = 0
  :: status[s] = 1
#ifndef ONE_ERROR
  :: status[s] = 2
#endif
  fi;
  used!s
}

active proctype device() {
  bool lied;
end:
  do
  :: atomic { isPublished[0] -> complete(0) }
#if K > 1
  :: atomic { isPublished[1] -> complete(1) }
#endif
#if K > 2
  :: atomic { isPublished[2] -> complete(2) }
#endif
#ifdef DUPLICATE
  :: atomic { !lied && len(used) < K + 1 -> lied = true; used!0 }
#endif
  od
}

#ifdef LIVENESS
ltl ends { <> isDone }
#endif
