/* A port: a client submits OPERATIONS through two rings of CREDITS places each, a loop carries them
 * out on a queue of SLOTS, sleeps when there is nothing to do, and may be closed at any time. No
 * sleep ends by itself here: a wake-up that is lost is an invalid end state.
 *
 * steps: write publish kick next takeUnpublished takeRequests begin deliver push wake sleep close
 * own: take
 */
#ifndef OPERATIONS
#define OPERATIONS 3
#endif
#ifndef CREDITS
#define CREDITS 2
#endif
#ifndef SLOTS
#define SLOTS 1
#endif
#define NOTHING 255
#define place(n) ((n) % CREDITS)

byte requests[CREDITS] = NOTHING;
byte completions[CREDITS] = NOTHING;
byte requested;        /* release P, acquire P */
bool isClosedBit;      /* of the same word */
byte completed;        /* release Q, acquire Q */
bool sleeping;
bool signal;           /* the eventfd */

/* The client's. */
byte written, published, taken, submitted, seen;
bool isClosed;

/* The loop's. */
byte consumed, inFlight, slots = SLOTS;
bool isEnded;
chan queue = [SLOTS] of { byte };
chan used = [SLOTS] of { byte };

byte ended[OPERATIONS];  /* ghost */
byte done;               /* ghost */
bool clientIsOver;

inline write(op) {
  assert(written - taken < CREDITS);
  requests[place(written)] = op;
  written++
}

/* Compare-exchange: false where the loop has closed the ring. */
inline publish() {
#ifdef CLOSED_UNSEEN
  requested = written;
  published = written
#else
  atomic {
    if
    :: isClosedBit -> isClosed = true
    :: else -> requested = written; published = written
    fi
  }
#endif
}

inline kick() {
#ifdef PUBLISHED_FIRST
  publish();
  requests[place(written - 1)] = written - 1;
#else
  publish();
#endif
  wake()
}

/* fence W stands between what was brought and the look for a sleeper. */
inline wake() {
  if
  :: sleeping -> signal = true
  :: else
  fi
}

inline take(op) {
  atomic {
    assert(op < OPERATIONS);
    ended[op]++;
    assert(ended[op] == 1);
    done++;
    taken++
  }
}

/* `seen` is how many completions the client knows of. */
inline next() {
  if
  :: taken == seen && isClosed && taken == published && published != written -> takeUnpublished()
  :: else ->
    if
    :: taken == seen -> seen = completed
    :: else
    fi;
    if
    :: taken != seen ->
      assert(completions[place(taken)] != NOTHING);
      take(completions[place(taken)])
    :: else
    fi
  fi
}

/* What never reached the loop ends here, after all that did. */
inline takeUnpublished() {
  op = requests[place(published)];
  published++;
  take(op);
  seen = taken
}

#ifdef CREDIT_AT_REQUEST
#define hasCredit (written - consumed < CREDITS)
#else
#define hasCredit (written - taken < CREDITS)
#endif

active proctype client() {
  byte op;
  do
  :: submitted < OPERATIONS && hasCredit && !isClosed ->
#ifdef PUBLISHED_FIRST
    written++;
#else
    write(submitted);
#endif
    submitted++
#ifdef PUBLISHED_FIRST
    ; kick()
#endif
  :: written != published && !isClosed -> kick()
  :: taken != seen || completed > taken || isClosed && taken == published && published != written ->
    next()
  :: (submitted == OPERATIONS || isClosed) && taken == written -> break
  od;
  clientIsOver = true;
  assert(done == submitted);
  wake()
}

inline takeRequests() {
  limit = requested;
  do
  :: consumed != limit && slots > 0 -> begin()
  :: else -> break
  od
}

inline begin() {
  op = requests[place(consumed)];
  assert(op == consumed); /* the request is there, and is the one that was written */
  slots--;
  queue!op;
  inFlight++;
  consumed++
}

inline deliver() {
  used?op;
  slots++;
  inFlight--;
  push(op)
}

inline push(o) {
  assert(completed - taken < CREDITS);
#ifdef COUNTED_FIRST
  completed++;
  completions[place(completed - 1)] = o
#else
  completions[place(completed)] = o;
  completed++
#endif
}

/* Says that it sleeps, fence W, looks once more; both orders of that and the look must not miss. */
inline sleep() {
#ifdef LOOKS_FIRST
  if
  :: requested != consumed || clientIsOver -> skip
  :: else ->
    sleeping = true;
    signal -> signal = false;
    sleeping = false
  fi
#else
  sleeping = true;
  if
  :: requested != consumed || clientIsOver -> skip
  :: else -> signal -> signal = false
  fi;
  sleeping = false
#endif
}

inline close() {
  isClosedBit = true;
#ifndef CLOSE_FORGETS
  do
  :: consumed != requested -> op = requests[place(consumed)]; push(op); consumed++
  :: consumed == requested -> break
  od;
#endif
  do
  :: inFlight > 0 -> deliver()
  :: inFlight == 0 -> break
  od
}

active proctype loopThread() {
  byte op, limit;
  do
  :: requested != consumed && slots > 0 -> takeRequests()
  :: len(used) > 0 -> deliver()
  :: inFlight == 0 && requested == consumed && !clientIsOver -> sleep()
#ifdef CLOSES
  :: true -> close(); break
#endif
  :: clientIsOver && inFlight == 0 -> break
  od;
  isEnded = true
}

active proctype device() {
  byte op, other;
endIdle:
  do
  :: queue?op ->
    /* In any order: what was taken first may be used last. */
    if
    :: len(queue) > 0 -> queue?other; used!other
    :: true
    fi;
    used!op
  od
}

ltl ends { <> (clientIsOver && isEnded) }
