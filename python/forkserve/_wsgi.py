"""wsgiref on forkserve. Imported when first used."""

from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIServer

from ._dropins import ForkingMixIn

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class ForkingWSGIServer(ForkingMixIn, WSGIServer):
    """wsgiref.simple_server.WSGIServer with each connection in a process of its own.

    For make_server(host, port, application, server_class=ForkingWSGIServer). To the
    application "wsgi.multiprocess" is true.
    """

    __module__ = "forkserve"

    def get_app(self) -> "WSGIApplication | None":
        """The application, told that other processes serve it as well."""
        application = super().get_app()
        if application is None:
            return None

        def multiprocess(environ: "WSGIEnvironment", start_response: "StartResponse") -> Any:
            environ["wsgi.multiprocess"] = True
            return application(environ, start_response)

        return multiprocess
