"""The handler of forkserve_echo.py, where another interpreter can import it."""


def echo(conn):
    while data := conn.socket.recv(4096):
        conn.socket.sendall(data)
