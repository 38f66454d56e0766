/* Read-modify-writes of three queues, each over one or two blocks of a device, whose locks are a
 * table of buckets (BlockLocks): all or none, tried and never waited for, once a poll. On its own
 * queue a partial write stalls behind what it overlaps; across queues only the table orders them.
 *
 * A block has two halves; each queue writes its own half of the blocks that it covers. What was
 * written last in each half must be there at the end.
 *
 * steps: tryLock unlock take mayStart stall retryStalled writeBack unlockBlocks
 * own: readBlock
 */
#ifndef QUEUES
#define QUEUES 3
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#define BLOCKS 3

bool isLocked[BLOCKS];
byte holders[BLOCKS];           /* ghost */
byte half[BLOCKS * QUEUES];     /* on the device: a block's parts, one for each queue */
byte done;

inline take(bucket, isTaken) {
#ifdef TAKE_IN_TWO
  isTaken = !isLocked[bucket];
  if :: isTaken -> isLocked[bucket] = true :: else fi
#else
  atomic { isTaken = !isLocked[bucket]; isLocked[bucket] = true }
#endif
}

#ifdef AS_ASKED
#define lower(first, last) first
#define upper(first, last) last
#else
#define lower(first, last) (first * (first < last) + last * (first >= last))
#define upper(first, last) (last * (first < last) + first * (first >= last))
#endif

/* The lower bucket first: else two can refuse each other for ever, each with one lock in hand. */
inline tryLock(first, last, isTaken) {
  take(lower(first, last), isTaken);
  if
  :: isTaken && last != first ->
    take(upper(first, last), isTaken);
    if
    :: !isTaken ->
#ifndef FIRST_KEPT
      isLocked[lower(first, last)] = false
#else
      skip
#endif
    :: else
    fi
  :: else
  fi
}

inline unlock(first, last) {
  holders[first]--;
  isLocked[first] = false;
  if
  :: last != first ->
    holders[last]--;
    isLocked[last] = false
  :: else
  fi
}

inline mayStart(first, last, isTaken) {
#ifdef UNLOCKED
  isTaken = true;
#else
  tryLock(first, last, isTaken);
#endif
  if
  :: isTaken ->
    atomic {
      holders[first]++;
      if :: last != first -> holders[last]++ :: else fi
    };
    assert(holders[first] == 1 && holders[last] == 1)
  :: else
  fi
}

inline stall() { isStalled = true }

/* Once a poll; it blocks until a lock is free, for in between nothing can come of it. */
inline retryStalled(first, last) {
  (!isLocked[first] && !isLocked[last]);
  mayStart(first, last, isTaken);
  if
  :: isTaken -> isStalled = false
  :: else
  fi
}

inline readBlock(block, at) {
  d_step {
    i = 0;
    do
    :: i < QUEUES -> copy[at + i] = half[block * QUEUES + i]; i++
    :: else -> break
    od;
    i = 0
  }
}

inline writeBack(block, at) {
  d_step {
    i = 0;
    do
    :: i < QUEUES -> half[block * QUEUES + i] = copy[at + i]; i++
    :: else -> break
    od;
    i = 0
  }
}

inline unlockBlocks(first, last) {
#ifndef NEVER_UNLOCKED
#ifdef UNLOCKED
  holders[first]--;
  if :: last != first -> holders[last]-- :: else fi
#else
  unlock(first, last)
#endif
#else
  skip
#endif
}

proctype queueOwner(byte me; byte first; byte last) {
  byte copy[2 * QUEUES];
  byte i, round;
  bool isTaken, isStalled;
  do
  :: round < ROUNDS ->
    mayStart(first, last, isTaken);
    if
    :: !isTaken -> stall()
    :: else
    fi;
    do
    :: isStalled -> retryStalled(first, last)
    :: else -> break
    od;
    readBlock(first, 0);
    readBlock(last, QUEUES);
#ifdef UNLOCKED_EARLY
    unlockBlocks(first, last);
#endif
    copy[me] = round + 1;
    copy[QUEUES + me] = round + 1;
    writeBack(first, 0);
    writeBack(last, QUEUES);
    assert(half[first * QUEUES + me] == round + 1);
#ifndef UNLOCKED_EARLY
    unlockBlocks(first, last);
#endif
    round++
  :: else -> break
  od;
  atomic { done++; round = 0; isTaken = false }
}

init {
  atomic {
    run queueOwner(0, 0, 1);
    run queueOwner(1, 1, 0); /* the other order: buckets of two blocks may stand so */
#if QUEUES > 2
    run queueOwner(2, 1, 2);
#endif
  }
  done == QUEUES;
  assert(half[0 * QUEUES + 0] == ROUNDS && half[1 * QUEUES + 0] == ROUNDS);
  assert(half[1 * QUEUES + 1] == ROUNDS && half[0 * QUEUES + 1] == ROUNDS);
#if QUEUES > 2
  assert(half[1 * QUEUES + 2] == ROUNDS && half[2 * QUEUES + 2] == ROUNDS);
#endif
  assert(!isLocked[0] && !isLocked[1] && !isLocked[2])
}

ltl ends { <> (done == QUEUES) }
