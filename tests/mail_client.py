"""Python's own mail clients, with the few steps every test repeats."""
import contextlib
import imaplib
import poplib
import smtplib
import ssl

from harness import PASSWORD, wait_until


def trusting(server):
    """A TLS context that trusts the certificate this server made for itself, and nothing else."""
    context = ssl.create_default_context(cafile=str(server.ca_file()))
    context.check_hostname = False
    return context


def message(subject, sender="ann@example.test", to="bob@example.test", body="Hello.\r\n", extra=""):
    """A whole small message; CRLF line ends."""
    return f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n{extra}\r\n{body}"


def deliver(server, sender, recipients, text):
    """Hands a message to the MX port and returns the server's last reply."""
    with smtplib.SMTP(server.address, server.port("smtp")) as smtp:
        smtp.ehlo("client.example")
        code, reply = smtp.mail(sender)
        assert code == 250, reply
        for recipient in recipients:
            code, reply = smtp.rcpt(recipient)
            assert code in (250, 251), (recipient, code, reply)
        code, reply = smtp.data(text)
        assert code == 250, (code, reply)
        return reply.decode()


def submit(server, login, recipients, text, password=PASSWORD):
    """Submits over STARTTLS with AUTH."""
    with smtplib.SMTP(server.address, server.port("submission")) as smtp:
        smtp.starttls(context=trusting(server))
        smtp.login(login, password)
        return smtp.sendmail(login, recipients, text)


@contextlib.contextmanager
def imap(server, login, password=PASSWORD, mailbox="INBOX"):
    """A signed-in IMAP connection with a mailbox selected."""
    with imaplib.IMAP4(server.address, server.port("imap")) as client:
        client.login(login, password)
        status, data = client.select(mailbox)
        assert status == "OK", data
        yield client


@contextlib.contextmanager
def pop3(server, login, password=PASSWORD):
    client = poplib.POP3(server.address, server.port("pop3"))
    try:
        client.user(login)
        client.pass_(password)
        yield client
    finally:
        with contextlib.suppress(poplib.error_proto, OSError):
            client.quit()


def subjects(server, login, mailbox="INBOX"):
    """The subjects in a mailbox, in order."""
    with imap(server, login, mailbox=mailbox) as client:
        _, data = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        return [part[1].decode().strip().removeprefix("Subject:").strip() for part in data if isinstance(part, tuple)]


def bodies(server, login, mailbox="INBOX"):
    """The whole messages in a mailbox, in order."""
    with imap(server, login, mailbox=mailbox) as client:
        _, data = client.fetch("1:*", "(BODY.PEEK[])")
        return [part[1] for part in data if isinstance(part, tuple)]


def wait_for_subject(server, login, subject, mailbox="INBOX"):
    wait_until(lambda: subject in subjects(server, login, mailbox), f"{subject!r} in {login}'s {mailbox}")
