/* Root's innocent program: opens a file for writing and closes it. A second argument is appended to the file. */
#include "common.h"

int main(int count, char **argument) {
    int descriptor = checked(open(argument[1], O_RDWR | O_APPEND), "open");
    if (count > 2)
        checked(write(descriptor, argument[2], strlen(argument[2])), "write");
    return close(descriptor);
}
