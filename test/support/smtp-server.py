"""A server of SMTP with users and TLS, by Debian's aiosmtpd. Arguments: certificate, key, user, password, folder for what comes. Prints its two ports."""
import itertools, os, ssl, sys, time
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

cert, key, user, password, box = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(cert, key)
number = itertools.count(1)


class Keep:
    async def handle_DATA(self, server, session, envelope):
        for to in envelope.rcpt_tos:
            name = os.path.join(box, str(next(number)))
            with open(name + ".part", "wb") as file:
                file.write(b"X-Envelope-To: " + to.encode() + b"\n" + envelope.content.replace(b"\r\n", b"\n"))
            os.rename(name + ".part", name)
        return "250 kept"


def check(server, session, envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=right, handled=right)


class Ready(Controller):
    """The port that the system has chosen must be known before the library tries it."""
    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


common = dict(hostname="127.0.0.1", port=0, authenticator=check, auth_required=True)
starttls = Ready(Keep(), tls_context=context, require_starttls=True, **common)
# Of a connection that is encrypted from its first byte, the library does not know that it is.
encrypted = Ready(Keep(), ssl_context=context, auth_require_tls=False, **common)
for server in (starttls, encrypted):
    server.start()
print(starttls.port, encrypted.port, flush=True)
time.sleep(600)
