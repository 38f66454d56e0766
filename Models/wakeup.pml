/* A demonstration, not a model of this code: how one direct I/O ended in Linux after the patch set
 * "dio: clean up completion phase" (2006). The completer looks whether somebody waits before it
 * drops its reference, and wakes him after it. LOCKED puts drop, look and wake in one critical
 * section, as Linux has it today; here there is no waiter at all.
 */
#ifndef N
#define N 1 /* bios */
#endif

byte count = 1;       /* the submitter's */
byte completed;
bool isWaiting;       /* dio->waiter, as it is */
bool isWoken;
bool isFree;
byte locked;

active proctype submitter() {
  byte i;
  do
  :: i < N -> count++; run completer(); i++
  :: else -> break
  od;
  /* await: sleep while more than our own reference is out */
  do
  :: atomic {
#ifdef LOCKED
      locked == 0 -> locked = 1
#else
      true
#endif
    };
    if
    :: count == 1 -> break
    :: else -> isWoken = false; isWaiting = true
    fi;
#ifdef LOCKED
    locked = 0;
#endif
    /* io_schedule() */
    if
    :: isWoken
#ifdef SPURIOUS
    :: true
#endif
    fi;
    isWaiting = false
  od;
#ifdef LOCKED
  locked = 0;
#endif
  count--;
  assert(count == 0);
  isFree = true
}

proctype completer() {
  bool hasWaiter;
#ifdef LOCKED
  atomic { locked == 0 -> locked = 1 };
  assert(!isFree);
  count--;
  if
  :: count == 1 && isWaiting -> isWoken = true
  :: else
  fi;
  locked = 0
#else
  assert(!isFree);
  hasWaiter = isWaiting;
  atomic { count--; completed = count };
  if
  :: completed == 1 && hasWaiter ->
    assert(!isFree); /* dio->waiter is read again, outside of any lock */
    isWoken = true
  :: else
  fi
#endif
}
