// What Swift cannot say: accesses of an exact width and order, and a few calls of the system whose
// names or macros Swift does not import. No logic lives here.
#ifndef CHOSTIO_H
#define CHOSTIO_H

#include "chio_guard.h"
#include "chio_memory.h"
#include "chio_process.h"
#include "chio_system.h"
#include "chio_vfio.h"

#endif
