/*
 * The testserver's metrics, as it prints them at its end.
 */
#include "testserver.h"
#include <string.h>

void put_metrics(void) {
    static char text[1 << 16];
    int length = forkserve_server_metrics(server, text, sizeof text);
    char *line = text;
    if (length < 0 || (size_t)length >= sizeof text)
        return;
    while (*line) {
        char whole[1024];
        size_t len = strcspn(line, "\n");
        int size = snprintf(whole, sizeof whole, "metrics %.*s\n", (int)len, line);
        put_line(whole, (size_t)size);
        line += len + 1;
    }
}
