/* A library for LD_PRELOAD: it changes the file $TARGET as soon as a program is loaded with it. */
#include "common.h"

__attribute__((constructor)) static void act(void) { write_evil(open_target(getenv("TARGET"))); }
