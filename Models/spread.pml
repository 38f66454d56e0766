/* Spread dios: home has A bios of each in its own queue, the loop's queue has B; durable ones are
 * followed by a FLUSH in a slot of home's; another thread may reset the device at any time. What a
 * part does inside its queue is queue.pml's: here a part knows how many of its bios are out.
 *
 * Shared by the threads are the count, the error and the two inboxes; each access is a step.
 *
 * steps: addParts takeReference startPart push dropOwn drop record end endStage addFlushes
 * steps: startReserved takeInbox appendDone takeDone reapAll kick followReset sweep swept stop
 * own: serve deviceUses restartDevice
 */
#ifndef DIOS
#define DIOS 1
#endif
#ifndef RECORDS
#define RECORDS DIOS /* places in the table of records */
#endif
#ifndef A
#define A 1
#endif
#ifndef B
#define B 1
#endif
#ifndef RESETS
#define RESETS 0
#endif
#define HOME 0
#define LOOP 1
#define bios(q) ((q == HOME) * A + (q == LOOP) * B)
#define at(q, r) ((q) * RECORDS + (r))
#define RESET_CODE 9
#define OK 0

/* The table: what the threads share, and a part for each member. */
byte count[RECORDS];
byte code[RECORDS];
byte doneBytes[2 * RECORDS];
chan inbox = [RECORDS + 1] of { byte };
chan parts = [RECORDS + 1] of { byte };

/* Home's alone. */
byte dio[RECORDS];         /* which dio the record serves; 0: free */
bool isFlushing[RECORDS];
byte reserved[RECORDS];    /* 0: none, 1: a slot is kept, more: the error that a sweep left there */
chan done = [RECORDS + 1] of { byte };
byte reservedSlots;

/* A queue's books: bios of a record that are added, published, and not reaped; its first error. */
byte added[2 * RECORDS];
byte published[2 * RECORDS];
byte out[2 * RECORDS];
byte partCode[2 * RECORDS];
bool flushAdded[RECORDS];
bool flushPublished[RECORDS];
bool flushOut[RECORDS];
chan used0 = [RECORDS * (A + 1)] of { byte, bool, byte }; /* record, FLUSH or data, status */
chan used1 = [RECORDS * B] of { byte, bool, byte };

/* The device. */
bool isOn = true;
byte epoch;
bool isStopped[2];
byte seenEpoch[2];
byte unswept;
byte resets;

/* Ghosts. */
byte ended[DIOS + 1];
byte firstError[RECORDS];
byte dataDone[RECORDS];
bool wasFlushed[RECORDS];
bool wasReset[RECORDS];    /* a reset since the dio began */
bool hasSubmitted;
bool isOver;

inline takeReference(r) {
  assert(count[r] > 0 && dio[r] > 0);
  count[r]++
}

/* First error wins. Its ghost is set in the same step. */
inline record(r, c) {
  assert(dio[r] > 0);
#ifdef LAST_ERROR_WINS
  atomic { if :: firstError[r] == 0 -> firstError[r] = c :: else fi; code[r] = c }
#else
#ifdef RECORD_IN_TWO
  seen = code[r];
  atomic { if :: seen == 0 -> code[r] = c; if :: firstError[r] == 0 -> firstError[r] = c :: else fi
           :: else if :: firstError[r] == 0 -> firstError[r] = c :: else fi fi };
#else
  atomic {
    if
    :: code[r] == 0 -> code[r] = c
    :: else
    fi;
    if :: firstError[r] == 0 -> firstError[r] = c :: else fi
  }
#endif
#endif
}

inline drop(r, isLast) {
#ifdef DROP_IN_TWO
  left = count[r];
  assert(left > 0);
  count[r] = left - 1;
  isLast = (left == 1)
#else
#ifdef FINISHED_AT_ONE
  atomic { assert(count[r] > 0 && dio[r] > 0); count[r]--; isLast = (count[r] == 1) }
#else
  atomic { assert(count[r] > 0 && dio[r] > 0); count[r]--; isLast = (count[r] == 0) }
#endif
#endif
}

/* The end of a part: bytes, error, drop; the last hands the dio home and touches it no more. */
inline end(q, r, c) {
#ifndef BYTES_AFTER_DROP
  doneBytes[at(q, r)] = (c == 0) * bios(q);
#endif
#ifndef ERROR_AFTER_DROP
  if
#ifdef LAST_ERROR_LOST
  :: c != 0 && count[r] > 1 -> record(r, c)
#else
  :: c != 0 -> record(r, c)
#endif
  :: else
  fi;
#endif
  drop(r, isLast);
#ifdef BYTES_AFTER_DROP
  doneBytes[at(q, r)] = (c == 0) * bios(q);
#endif
#ifdef ERROR_AFTER_DROP
  if :: c != 0 -> record(r, c) :: else fi;
#endif
  if
  :: isLast ->
#ifdef DELIVERED_BY_LOOP
    if
    :: q == LOOP -> assert(false) /* rule 11: it comes out of the home that accepted it */
    :: else -> inbox!r
    fi
#else
    inbox!r
#endif
#ifdef TOUCHED_AFTER_HANDOVER
    ;
    assert(dio[r] > 0 && count[r] == 0)
#endif
  :: else
  fi;
  isLast = false
}

/* Begins a part on queue q, or ends it where the queue stands still. */
inline startPart(q, r) {
  if
  :: isStopped[q] || seenEpoch[q] != epoch ->
#ifdef PART_STRANDED
    skip
#else
    end(q, r, RESET_CODE)
#endif
  :: else ->
    atomic {
      added[at(q, r)] = bios(q);
      out[at(q, r)] = bios(q);
      partCode[at(q, r)] = 0
    }
  fi
}

inline push(r) { parts!r }

inline addParts(r) {
#ifndef REFERENCE_MISSING
#ifdef REFERENCE_LATE
  push(r);
  takeReference(r);
#else
  takeReference(r);
  push(r);
#endif
#else
  push(r);
#endif
  takeReference(r);
  startPart(HOME, r)
}

inline dropOwn(r) {
#ifdef DRAIN_IN_SUBMIT
  do
  :: count[r] > 1 -> reapAll(HOME); kick(HOME)
  :: count[r] == 1 -> break
  od;
#endif
  drop(r, isLast);
  if
  :: isLast ->
    isLast = false;
    endStage(r);
    if
    :: isEnded -> takeDone(r) /* the submission returns the result */
    :: else
    fi
#ifdef FINISHED_TWICE
    ;
    inbox!r
#endif
  :: else
  fi;
  isLast = false
}

#ifdef FLUSH_SKIPPED
#define needsFlush(r) false
#else
#ifndef DURABLE
#define needsFlush(r) false
#else
#ifdef FLUSH_AFTER_ERROR
#define needsFlush(r) (!isFlushing[r])
#else
#define needsFlush(r) (!isFlushing[r] && code[r] == 0)
#endif
#endif
#endif

inline endStage(r) {
  isEnded = true;
  if
  :: needsFlush(r) ->
    isFlushing[r] = true;
    count[r] = 1;
    addFlushes(r);
    drop(r, isLast);
    isEnded = isLast;
    isLast = false
  :: else
  fi
}

inline addFlushes(r) {
  assert(count[r] > 0);
  takeReference(r);
  startReserved(r)
}

inline startReserved(r) {
#ifdef FLUSH_AFTER_STOP
  if
  :: reserved[r] > 1 -> reserved[r] = 1
  :: else
  fi;
#endif
  if
  :: reserved[r] > 1 ->
    left = reserved[r];
    reserved[r] = 0;
    reservedSlots--;
    end(HOME, r, left);
    left = 0
  :: else ->
    assert(dataDone[r] == A + B);
    assert(firstError[r] == 0);
    atomic { reserved[r] = 0; reservedSlots--; flushAdded[r] = true; flushOut[r] = true }
  fi
}

inline takeInbox() {
  do
  :: len(inbox) > 0 ->
    inbox?i;
    assert(dio[i] > 0);
    endStage(i);
    if
    :: isEnded -> appendDone(i)
    :: else
    fi
  :: len(inbox) == 0 -> break
  od;
  i = 0
}

inline appendDone(r) {
  assert(nfull(done));
  done!r
}

/* Delivery: by home, once, when nothing of the dio is with the device any more. */
inline takeDone(r) {
  atomic {
    assert(dio[r] > 0 && count[r] == 0);
    assert(published[at(HOME, r)] == 0 && published[at(LOOP, r)] == 0 && !flushPublished[r]);
    assert(out[at(HOME, r)] == 0 && out[at(LOOP, r)] == 0 && !flushOut[r]);
    assert(code[r] == firstError[r]);
    assert(code[r] != 0 || dataDone[r] == A + B);
    assert(code[r] != 0 || doneBytes[at(LOOP, r)] == B && doneBytes[at(HOME, r)] == A);
#ifdef DURABLE
    assert(code[r] != 0 || wasFlushed[r]);
#endif
#ifndef RESERVED_LOST
    if
    :: reserved[r] > 0 -> reserved[r] = 0; reservedSlots--
    :: else
    fi;
#endif
    ended[dio[r]]++;
    assert(ended[dio[r]] == 1);
    dio[r] = 0
  }
}

inline reapAll(q) {
  if
  :: seenEpoch[q] != epoch -> followReset(q)
  :: else -> if :: isStopped[q] && isOn -> isStopped[q] = false :: else fi
  fi;
  do
  :: q == HOME && len(used0) > 0 && !isStopped[q] -> used0?r,isF,c; serve(q)
  :: q == LOOP && len(used1) > 0 && !isStopped[q] -> used1?r,isF,c; serve(q)
  :: else -> break
  od;
  r = 0; c = 0; isF = false
}

/* One used entry: the part's error, its count; the last bio ends the part. */
inline serve(q) {
  if
  :: isF ->
    flushOut[r] = false;
#ifdef FLUSH_ERROR_LOST
    end(HOME, r, 0)
#else
    end(HOME, r, c)
#endif
  :: else ->
    atomic {
      if :: c != 0 && partCode[at(q, r)] == 0 -> partCode[at(q, r)] = c :: else fi;
      out[at(q, r)]--
    };
    if
    :: out[at(q, r)] == 0 ->
#ifdef FLUSH_EARLY
      if
      :: q == HOME && !isFlushing[r] -> isFlushing[r] = true; takeReference(r); startReserved(r)
      :: else
      fi;
#endif
      c = partCode[at(q, r)];
      end(q, r, c)
#ifdef FLUSH_AT_ONE
      ;
      if
      :: q == HOME && count[r] == 1 && reserved[r] == 1 ->
        isFlushing[r] = true;
        takeReference(r);
        startReserved(r)
      :: else
      fi
#endif
    :: else
    fi
  fi
}

inline kick(q) {
  atomic {
    if
    :: seenEpoch[q] == epoch && !isStopped[q] ->
      i = 0;
      do
      :: i < RECORDS ->
        published[at(q, i)] = published[at(q, i)] + added[at(q, i)];
        added[at(q, i)] = 0;
        if
        :: q == HOME && flushAdded[i] -> flushAdded[i] = false; flushPublished[i] = true
        :: else
        fi;
        i++
      :: else -> break
      od;
      i = 0
    :: else
    fi
  }
}

inline followReset(q) {
  seenEpoch[q] = epoch;
  isStopped[q] = true;
  sweep(q);
  swept(q)
}

/* Every bio in flight ends by the ordinary drop; reservations are told. */
inline sweep(q) {
  i = 0;
  do
  :: i < RECORDS ->
    atomic {
      if
      :: q == HOME && reserved[i] == 1 -> reserved[i] = RESET_CODE
      :: else
      fi;
      added[at(q, i)] = 0;
      published[at(q, i)] = 0 /* a kick under way when the device stopped showed it to nobody */
    };
    if
    :: out[at(q, i)] > 0 ->
      atomic {
        if :: partCode[at(q, i)] == 0 -> partCode[at(q, i)] = RESET_CODE :: else fi;
        out[at(q, i)] = 0
      };
#ifndef SWEEP_WITHOUT_DROP
      c = partCode[at(q, i)];
#ifdef SWEEP_BY_DIO
      record(i, c); /* the dio as a whole: as if no other part had a reference */
      count[i] = 0;
      inbox!i
#else
      end(q, i, c)
#endif
#endif
    :: else
    fi;
    if
    :: q == HOME && flushOut[i] ->
      atomic { flushOut[i] = false; flushAdded[i] = false; flushPublished[i] = false };
      end(HOME, i, RESET_CODE)
    :: else
    fi;
    i++
  :: else -> break
  od;
  /* The ring begins anew: what stood there is nobody's. */
  atomic {
    do
    :: q == HOME && len(used0) > 0 -> used0?r,isF,c
    :: q == LOOP && len(used1) > 0 -> used1?r,isF,c
    :: else -> break
    od;
    i = 0; r = 0; c = 0; isF = false
  }
}

inline swept(q) {
  atomic {
    unswept--;
    if
    :: unswept == 0 -> restartDevice()
    :: else
    fi
  };
  if
  :: isOn && seenEpoch[q] == epoch -> isStopped[q] = false
  :: else
  fi
}

inline restartDevice() { isOn = true }

/* Status reads 0 first: from then on nothing is transferred. Then the epoch moves. */
inline stop() {
#ifdef SWEEP_BEFORE_STOP
  atomic { epoch++; unswept = 2 };
  isOn = false;
#else
  isOn = false;
#endif
  atomic {
    i = 0;
    do
    :: i < RECORDS ->
      published[at(HOME, i)] = 0;
      published[at(LOOP, i)] = 0;
      flushPublished[i] = false;
      wasReset[i] = true;
      i++
    :: else -> break
    od;
    i = 0
  }
#ifndef SWEEP_BEFORE_STOP
  ;
  atomic { epoch++; unswept = 2 }
#endif
}

active proctype homeThread() {
  byte i, r, c, left, seen, next, place;
  bool isLast, isEnded, isF;
  do
  :: next < DIOS && !isStopped[HOME] && seenEpoch[HOME] == epoch &&
     (dio[0] == 0 || dio[RECORDS - 1] == 0) ->
    atomic {
      next++;
      place = (dio[0] != 0) * (RECORDS - 1);
      dio[place] = next;
      isFlushing[place] = false;
#ifndef ERROR_NOT_CLEARED
      code[place] = 0;
#endif
      firstError[place] = 0;
      dataDone[place] = 0;
      wasFlushed[place] = false;
      wasReset[place] = false;
      doneBytes[at(HOME, place)] = 0;
      doneBytes[at(LOOP, place)] = 0;
#ifdef DURABLE
      reserved[place] = 1;
      reservedSlots++;
#endif
      count[place] = 1
    };
    addParts(place);
    dropOwn(place);
    kick(HOME);
    place = 0;
    hasSubmitted = (next == DIOS)
  :: len(used0) > 0 || len(inbox) > 0 || seenEpoch[HOME] != epoch || isStopped[HOME] && isOn ->
    reapAll(HOME);
    takeInbox();
    kick(HOME)
  :: len(done) > 0 -> done?r; takeDone(r); r = 0
  :: next == DIOS && dio[0] == 0 && dio[RECORDS - 1] == 0 -> break
  od;
#ifndef RESETS_LAST
  assert(reservedSlots == 0);
  assert(ended[1] == 1 && ended[DIOS] == 1);
#endif
  isOver = true
}

active proctype loopThread() {
  byte i, r, c, left, seen, part;
  bool isLast, isF;
endIdle:
  do
#ifdef LOOP_STANDS_STILL
  /* It may wait for home: it takes nothing before home's submissions are done. */
  :: hasSubmitted && len(parts) > 0 -> parts?part; startPart(LOOP, part); part = 0; kick(LOOP)
#else
  :: len(parts) > 0 -> parts?part; startPart(LOOP, part); part = 0; kick(LOOP)
#endif
  :: len(used1) > 0 || seenEpoch[LOOP] != epoch || isStopped[LOOP] && isOn ->
    reapAll(LOOP);
    kick(LOOP)
  od
}

inline deviceUses(q, r) {
  published[at(q, r)]--;
  assert(dio[r] > 0 && ended[dio[r]] == 0); /* no DMA to memory that was given back */
  if
  :: q == HOME && nfull(used0) ->
    if
    :: used0!r,false,0; dataDone[r]++
    :: used0!r,false,1
    fi
  :: q == LOOP && nfull(used1) ->
    if
    :: used1!r,false,0; dataDone[r]++
    :: used1!r,false,2
    fi
  fi
}

active proctype device() {
endIdle:
  do
  :: atomic { isOn && published[at(HOME, 0)] > 0 -> deviceUses(HOME, 0) }
  :: atomic { isOn && published[at(LOOP, 0)] > 0 -> deviceUses(LOOP, 0) }
  :: atomic { isOn && flushPublished[0] ->
      flushPublished[0] = false;
      if
      :: used0!0,true,0; wasFlushed[0] = !wasReset[0]
      :: used0!0,true,1
      fi
    }
#if RECORDS > 1
  :: atomic { isOn && published[at(HOME, 1)] > 0 -> deviceUses(HOME, 1) }
  :: atomic { isOn && published[at(LOOP, 1)] > 0 -> deviceUses(LOOP, 1) }
  :: atomic { isOn && flushPublished[1] ->
      flushPublished[1] = false;
      if
      :: used0!1,true,0; wasFlushed[1] = !wasReset[1]
      :: used0!1,true,1
      fi
    }
#endif
  od
}

#if RESETS > 0
active proctype resetter() {
  byte i;
  do
  :: resets < RESETS && isOn && unswept == 0 -> resets++; stop()
  :: resets == RESETS -> break
  :: true -> break
  od
}
#endif

ltl ends { <> isOver }
