/* testserver's handler "try": does what the client's lines say, and sends the errno of
 * each, 0 if it worked. What a child can do that its client has taken over. */
#include "testserver.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int opened(int fd) {
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int connect_abstract(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), result;
    if (fd < 0)
        return -1;
    memcpy(address.sun_path + 1, name, strlen(name));
    result = connect(fd, (struct sockaddr *)&address,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
    int error = errno;
    close(fd);
    errno = error;
    return result;
}

static int make_child(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid < 0 ? -1 : (int)(waitpid(pid, NULL, 0) != pid);
}

/* It has a session of its own, and nothing of its parent's. */
static int leave_child(void) {
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        for (int fd = 0; fd < 64; fd++)
            close(fd);
        for (;;)
            pause();
    }
    return pid;
}

static int executable_memory(void) {
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? -1 : mprotect(memory, 4096, PROT_READ | PROT_EXEC);
}

static int much_memory(size_t size) {
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -1;
    for (size_t at = 0; at < size; at += 4096)
        memory[at] = 1;
    return munmap(memory, size);
}

/* As many processes as there can be, which all do nothing; how many there are. */
static int bomb(void) {
    int count = 0;
    for (; count < 2000; count++) {
        pid_t pid = fork();
        if (pid < 0)
            break;
        if (pid == 0)
            for (;;)
                pause();
    }
    return count;
}

/* -1 with errno, or 0. */
static int attempt(const char *what, const char *with) {
    if (strcmp(what, "kill") == 0)
        return kill(atoi(with), 0);
    if (strcmp(what, "read") == 0)
        return opened(open(with, O_RDONLY));
    if (strcmp(what, "list") == 0)
        return opened(open(with, O_RDONLY | O_DIRECTORY));
    if (strcmp(what, "write") == 0)
        return opened(open(with, O_WRONLY | O_CREAT, 0600));
    if (strcmp(what, "truncate") == 0)
        return truncate(with, 0);
    if (strcmp(what, "unlink") == 0)
        return unlink(with);
    if (strcmp(what, "mkdir") == 0)
        return mkdir(with, 0700);
    if (strcmp(what, "socket") == 0)
        return opened(socket(AF_INET, SOCK_STREAM, 0));
    if (strcmp(what, "abstract") == 0)
        return connect_abstract(with);
    if (strcmp(what, "ptrace") == 0)
        return (int)ptrace(PTRACE_SEIZE, atoi(with), NULL, NULL);
    if (strcmp(what, "fork") == 0)
        return make_child();
    if (strcmp(what, "leave") == 0)
        return leave_child();
    if (strcmp(what, "exec") == 0)
        return execl(with, with, (char *)NULL);
    if (strcmp(what, "code") == 0)
        return executable_memory();
    if (strcmp(what, "memory") == 0)
        return much_memory((size_t)atoll(with));
    if (strcmp(what, "setuid") == 0)
        return setuid((uid_t)atoi(with));
    if (strcmp(what, "owner") == 0)
        return fcntl(0, F_SETOWN, atoi(with));
    if (strcmp(what, "malloc") == 0) {
        void *memory = malloc((size_t)atoll(with));
        free(memory);
        return memory ? 0 : -1;
    }
    if (strcmp(what, "abort") == 0)
        abort();
    errno = EINVAL;
    return -1;
}

static int read_line(int fd, char *line, size_t size) {
    size_t len = 0;
    while (len < size - 1 && forkserve_read(fd, line + len, 1) == 1)
        if (line[len++] == '\n')
            break;
    line[len > 0 ? len - 1 : 0] = '\0';
    return len > 0;
}

int try_out(int fd) {
    char line[256], answer[32];
    while (read_line(fd, line, sizeof line)) {
        char *with = strchr(line, ' ');
        int number;
        if (with)
            *with++ = '\0';
        if (strcmp(line, "bomb") == 0) {
            number = bomb();
        } else {
            errno = 0;
            number = attempt(line, with ? with : "") < 0 ? errno : 0;
        }
        int len = snprintf(answer, sizeof answer, "%d\n", number);
        if (forkserve_write_all(fd, answer, (size_t)len) < 0)
            return 1;
    }
    return 0;
}
