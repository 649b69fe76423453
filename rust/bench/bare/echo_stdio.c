/* echo_stdio.c - echo from descriptor 0 to descriptor 1 until end of file: the
 * program that the rivals which exec a program per connection (tcpserver,
 * tcpsvd, xinetd, socat) are given.
 *
 * Invariant: it does the work of bare_loop's child and nothing more, so what is
 * compared is the server in front of it.
 */
#include <errno.h>
#include <unistd.h>

int main(void) {
    char buf[4096];
    for (;;) {
        ssize_t got = read(0, buf, sizeof buf);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0;
        for (ssize_t sent = 0; sent < got;) {
            ssize_t n = write(1, buf + sent, (size_t)(got - sent));
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return 1;
            sent += n;
        }
    }
}
