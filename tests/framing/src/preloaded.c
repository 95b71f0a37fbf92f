/* A library that changes the file that $TARGET names as soon as a program is loaded with it (LD_PRELOAD). */
#include "common.h"

__attribute__((constructor)) static void act(void) { write_evil(open_target(getenv("TARGET"))); }
