"""Judges a running mailsrv by Python's smtplib and poplib.

usage: client.py CHECK ADDRESS SMTP-PORT POP3-PORT POP3S-PORT CERTIFICATE [FILE...]

Each check, a function below, has the mailbox ADDRESS with the password "secret"
to itself. It exits with 0 when all holds. send_files and fetch_files only carry
messages; others judge them.
"""
import poplib
import re
import smtplib
import ssl
import sys

HOST = "127.0.0.1"
TIMEOUT = 50
SENDER = "you@example.org"


class Site:
    def __init__(self, address, smtp, pop3, pop3s, certificate):
        self.address = address
        self.smtp_port, self.pop3_port, self.pop3s_port = int(smtp), int(pop3), int(pop3s)
        self.trust = ssl.create_default_context(cafile=certificate)
        self.trust.check_hostname = False  # it is for a name, and we connect to a number

    def smtp(self):
        return smtplib.SMTP(HOST, self.smtp_port, "client.example.org", TIMEOUT)

    def send(self, *messages):
        with self.smtp() as server:
            for message in messages:
                server.sendmail(SENDER, self.address, message)

    def connect(self):
        return poplib.POP3(HOST, self.pop3_port, TIMEOUT)

    def pop3(self):
        return self.login(self.connect())

    def login(self, server):
        ok(server.user(self.address))
        ok(server.pass_("secret"))
        return server


def letter(subject, body=b"It works.\r\n"):
    return b"From: you@example.org\r\nSubject: " + subject.encode() + b"\r\n\r\n" + body


def equal(got, want):
    if got != want:
        raise AssertionError(f"got {got!r:.300}, want {want!r:.300}")


def ok(reply):
    if not reply.startswith(b"+OK"):
        raise AssertionError(repr(reply))
    return reply


def refused(call, pattern):
    """Expects -ERR, and that it leaves the session usable."""
    try:
        reply = call()
    except poplib.error_proto as error:
        if not re.match(pattern, error.args[0]):
            raise AssertionError(repr(error))
    else:
        raise AssertionError(f"not refused: {reply!r:.300}")


def content(lines):
    """A fetched message without the three trace fields."""
    message = b"".join(line + b"\r\n" for line in lines)
    match = re.match(rb"Return-Path: [^\r\n]*\r\nDelivered-To: [^\r\n]*\r\nReceived: [^\r\n]*(\r\n\t[^\r\n]*)*\r\n", message)
    return message[match.end():]


# poplib, method by method.

def pop3_commands(site):
    first, second, third = letter("one", b".dot\r\n..\r\n"), letter("two", b"a\r\nb\r\nc\r\n"), letter("three")
    site.send(first, second, third)
    server = site.pop3()
    ok(server.getwelcome())
    count, total = server.stat()
    response, listing, _ = server.list()
    ok(response)
    sizes = [tuple(map(int, line.split())) for line in listing]
    equal([number for number, _ in sizes], [1, 2, 3])
    equal((count, total), (3, sum(size for _, size in sizes)))
    equal(ok(server.list(2)), b"+OK 2 %d" % sizes[1][1])

    for number, sent in (1, first), (2, second), (3, third):
        response, lines, octets = server.retr(number)
        ok(response)
        equal(content(lines), sent)
        equal(octets, sizes[number - 1][1])

    response, lines, _ = server.top(2, 1)
    equal(content(lines), letter("two", b"a\r\n"))
    response, lines, _ = server.top(2, 0)
    equal(content(lines), letter("two", b""))

    response, uidls, _ = server.uidl()
    names = [line.split()[1] for line in uidls]
    equal(len(set(names)), 3)
    equal(ok(server.uidl(3)), b"+OK 3 " + names[2])
    ok(server.noop())

    ok(server.dele(1))
    equal(server.stat(), (2, total - sizes[0][1]))
    for call in (lambda: server.retr(1), lambda: server.dele(1), lambda: server.list(1),
                 lambda: server.uidl(1), lambda: server.top(1, 0), lambda: server.retr(0),
                 lambda: server.retr(4), lambda: server.retr(-1), lambda: server.retr("x")):
        refused(call, rb"-ERR ")
    equal(len(server.list()[1]), 2)
    ok(server.rset())
    equal(server.stat(), (count, total))
    ok(server.dele(2))
    ok(server.quit())

    server = site.pop3()
    equal([line.split()[1] for line in server.uidl()[1]], [names[0], names[2]])
    ok(server.dele(1))
    server.close()  # without QUIT: nothing is deleted
    server = site.pop3()  # the claim goes with the connection, and who comes waits for it
    equal(server.stat()[0], 2)
    ok(server.quit())


def pop3_capabilities(site):
    server = site.connect()
    capabilities = server.capa()
    for name in "TOP", "UIDL", "USER", "SASL", "STLS", "RESP-CODES", "PIPELINING", "UTF8":
        if name not in capabilities:
            raise AssertionError(f"no {name}: {capabilities}")
    ok(server.utf8())
    ok(site.login(server).quit())


def pop3_stls(site):
    site.send(letter("one"))
    server = site.connect()
    ok(server.stls(context=site.trust))
    if "STLS" in server.capa():
        raise AssertionError("STLS twice")
    site.login(server)
    equal(content(server.retr(1)[1]), letter("one"))
    ok(server.quit())


def pop3_ssl(site):
    site.send(letter("one"))
    server = site.login(poplib.POP3_SSL(HOST, site.pop3s_port, timeout=TIMEOUT, context=site.trust))
    equal(content(server.retr(1)[1]), letter("one"))
    ok(server.quit())


def pop3_refusals(site):
    server = site.connect()
    refused(lambda: server.stat(), rb"-ERR ")  # before the login
    ok(server.user(site.address))
    refused(lambda: server.pass_("Secret"), rb"-ERR \[AUTH\]")
    site.login(server)
    other = site.connect()
    ok(other.user(site.address))
    refused(lambda: other.pass_("secret"), rb"-ERR \[IN-USE\]")
    ok(server.quit())
    ok(site.login(other).quit())


# smtplib.

def smtp_extensions(site):
    with site.smtp() as server:
        equal(server.ehlo()[0], 250)
        for name in "pipelining", "size", "8bitmime", "smtputf8", "chunking", "enhancedstatuscodes", "starttls", "limits":
            if not server.has_extn(name):
                raise AssertionError(f"no {name}: {server.esmtp_features}")
        if server.has_extn("auth"):
            raise AssertionError("AUTH on the port of other servers")
        equal(server.starttls(context=site.trust)[0], 220)
        server.ehlo()
        if server.has_extn("starttls"):
            raise AssertionError("STARTTLS twice")
        equal(server.sendmail(SENDER, site.address, letter("one")), {})
        for command, code in (server.noop, 250), (server.rset, 250), (lambda: server.docmd("VRFY", "look"), 252):
            equal(command()[0], code)
        if server.docmd("NONSENSE")[0] not in (500, 501):
            raise AssertionError("NONSENSE is not refused")
    server = site.pop3()
    equal(content(server.retr(1)[1]), letter("one"))
    ok(server.quit())


def smtp_eight_bits(site):
    eight = letter("one", "grün, 緑\r\n".encode() + bytes(range(128, 256)) + b"\r\n")
    utf8 = letter("grün", b"Subject and sender beyond ASCII.\r\n")
    with site.smtp() as server:
        equal(server.sendmail(SENDER, site.address, eight, ["BODY=8BITMIME"]), {})
        equal(server.sendmail("grün@example.org", site.address, utf8, ["SMTPUTF8", "BODY=8BITMIME"]), {})
    server = site.pop3()
    equal(content(server.retr(1)[1]), eight)
    lines = server.retr(2)[1]
    equal(lines[0], "Return-Path: <grün@example.org>".encode())
    if b" with UTF8SMTP " not in b"\n".join(lines[:6]):
        raise AssertionError(lines[:6])
    equal(content(lines), utf8)
    ok(server.quit())


def smtp_big_message(site):
    lines = b"".join(b"%060d\r\n" % n for n in range(100_000))  # 6 MB
    with site.smtp() as server:
        equal(server.sendmail(SENDER, site.address, letter("big", lines), ["SIZE=%d" % len(letter("big", lines))]), {})
        # More than the server takes: told before it is sent.
        try:
            server.sendmail(SENDER, site.address, b"", ["SIZE=%d" % (1 << 30)])
        except smtplib.SMTPSenderRefused as error:
            equal((error.smtp_code, error.smtp_error[:6]), (552, b"5.3.4 "))
        else:
            raise AssertionError("SIZE of 1 GiB is taken")
    server = site.pop3()
    equal(content(server.retr(1)[1]), letter("big", lines))
    ok(server.quit())


def smtp_refused_recipients(site):
    with site.smtp() as server:
        try:
            server.sendmail(SENDER, ["nobody@me.com", "you@elsewhere.org"], letter("none"))
        except smtplib.SMTPRecipientsRefused as error:
            replies = {to: (code, text[:6]) for to, (code, text) in error.recipients.items()}
            equal(replies, {"nobody@me.com": (550, b"5.1.1 "), "you@elsewhere.org": (550, b"5.7.1 ")})
        else:
            raise AssertionError("not refused")
        # The connection goes on; who is known gets the mail beside who is not.
        some = server.sendmail(SENDER, [site.address, "nobody@me.com"], letter("one"))
        equal({to: code for to, (code, _) in some.items()}, {"nobody@me.com": 550})
        # What smtplib would not send.
        for address in '<"a b"@me.com>', "<a@b@me.com>", "<a@-me.com>", "<@me.com>", "a@me.com\x01":
            server.docmd("MAIL", "FROM:<you@example.org>")
            code = server.docmd("RCPT", "TO:" + address)[0]
            if code < 500:
                raise AssertionError(f"{address}: {code}")
            server.rset()
    server = site.pop3()
    equal(server.stat()[0], 1)
    ok(server.quit())


# Messages from and to files.

def send_files(site, *files):
    with site.smtp() as server:
        for name in files:
            with open(name, "rb") as file:
                server.sendmail(SENDER, site.address, file.read(), ["BODY=8BITMIME"])


def fetch_files(site, *files):
    server = site.pop3()
    for number, name in enumerate(files, start=1):
        lines = server.retr(number)[1]
        with open(name, "wb") as file:
            file.writelines(line + b"\r\n" for line in lines)
    ok(server.quit())


if __name__ == "__main__":
    poplib._MAXLINE = 1 << 24  # it guards against hostile servers
    globals()[sys.argv[1]](Site(*sys.argv[2:7]), *sys.argv[7:])
