"""The file of an update, for hub_device.py: fetched in pieces over HTTP, and good only by its digest."""

import binascii
import hashlib
import os
import socket
import time

_TRIES = 8
_PIECE = 1024
_TELL_EVERY = 32768


def fetch(hub: object, update: dict, path: str) -> None:
    """Fetch what an update names into a file, and tell its steps; OSError or ValueError say why not.

    What is there already, of before a cut or a restart, is not fetched again.
    """
    for attempt in range(_TRIES):
        try:
            _go_on(hub, update, path)
            break
        except OSError as error:
            if attempt == _TRIES - 1:
                raise
            print("hub: download:", repr(error))
            time.sleep(1 << attempt)
    hub.progress(1, "downloaded")
    if _digest(path) != update["sha256"]:
        os.remove(path)
        raise ValueError("the file is not the one that was announced")
    hub.progress(1, "verified")


def _go_on(hub: object, update: dict, path: str) -> None:
    size = update["size"]
    here = _size(path)
    if here > size:
        os.remove(path)
        here = 0
    if here == size:
        return
    hub.progress(here / size, "downloading")
    stream = _asked(hub, update["url"], here)
    try:
        status = int(stream.readline().split(b" ")[1])
        while stream.readline().strip():
            pass  # the size is known, and nothing else of the headers matters
        if status not in (200, 206):
            raise (ValueError if 400 <= status < 500 else OSError)("the hub answered %d" % status)
        here = here if status == 206 else 0
        with open(path, "ab" if here else "wb") as file:
            told = here
            while here < size:
                piece = stream.read(min(_PIECE, size - here))
                if not piece:
                    raise OSError("cut after %d of %d bytes" % (here, size))
                file.write(piece)
                here += len(piece)
                if here - told >= _TELL_EVERY:
                    told = here
                    hub.progress(here / size, "downloading")
    finally:
        stream.close()


def _asked(hub: object, url: str, here: int) -> object:
    """Ask for the file from a byte on. The device's secret goes along, as safe as over MQTT and no less."""
    scheme, _, host, path = url.split("/", 3)
    if (scheme == "https:") != bool(hub.ssl):
        raise ValueError("HTTP and MQTT have TLS both, or neither: " + scheme + "//" + host)
    name, _, port = host.partition(":")
    sock = socket.socket()
    sock.settimeout(20)
    sock.connect(socket.getaddrinfo(name, int(port or (443 if scheme == "https:" else 80)))[0][-1])
    if hub.ssl:
        sock = hub.ssl.wrap_socket(sock, server_hostname=name)
    login = binascii.b2a_base64(":".join(hub.login).encode()).strip().decode()
    headers = ("Host: " + host, "Authorization: Basic " + login, "Range: bytes=%d-" % here, "Connection: close")
    sock.write(("GET /" + path + " HTTP/1.0\r\n" + "\r\n".join(headers) + "\r\n\r\n").encode())
    return sock


def _size(path: str) -> int:
    try:
        return os.stat(path)[6]
    except OSError:
        return 0  # there is none yet


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            piece = file.read(_PIECE)
            if not piece:
                return binascii.hexlify(digest.digest()).decode()
            digest.update(piece)
