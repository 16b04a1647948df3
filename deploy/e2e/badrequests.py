"""Requests that nobody should send, over HTTP/1.1, HTTP/2 and HTTP/3.

Prints one line of JSON: for each case what came of it: "status 400", "closed" (the connection was ended without an answer),
"reset" (the stream was), or "silent" (nothing within the time). After each case a good request must be answered: "alive": true.
"""

import argparse
import asyncio
import json
import socket
import ssl

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StopSendingReceived, StreamReset
from hpack import Decoder, Encoder

SECONDS = 15.0
HOST = "localhost"


def tls(ca, alpn):
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols([alpn])
    return context


def open_tls(arguments, alpn):
    raw = socket.create_connection(("127.0.0.1", arguments.port), SECONDS)
    return tls(arguments.ca, alpn).wrap_socket(raw, server_hostname=HOST)


# HTTP/1.1: bytes as they are.
def h1_cases(port):
    host = f"host: {HOST}:{port}\r\n"
    return {
        "none: a good request": f"GET /hello HTTP/1.1\r\n{host}\r\n".encode(),
        "not HTTP": b"\x00\x01\x02\x03 nonsense\r\n\r\n",
        "no host": b"GET /hello HTTP/1.1\r\n\r\n",
        "two hosts": f"GET /hello HTTP/1.1\r\n{host}host: other\r\n\r\n".encode(),
        "bad host": b"GET /hello HTTP/1.1\r\nhost: a b\r\n\r\n",
        "space before colon": f"GET /hello HTTP/1.1\r\n{host}x-a : 1\r\n\r\n".encode(),
        "two lengths": f"POST /hello HTTP/1.1\r\n{host}content-length: 5\r\ncontent-length: 6\r\n\r\nhello".encode(),
        "length and chunked": f"POST /hello HTTP/1.1\r\n{host}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        "bad chunk": f"POST /hello HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n".encode(),
        "huge header": f"GET /hello HTTP/1.1\r\n{host}x-a: {'a' * (4 << 20)}\r\n\r\n".encode(),
        "many headers": f"GET /hello HTTP/1.1\r\n{host}".encode() + b"x-a: 1\r\n" * 20000 + b"\r\n",
        "long target": f"GET /{'a' * (1 << 20)} HTTP/1.1\r\n{host}\r\n".encode(),
        "huge length": f"POST /hello HTTP/1.1\r\n{host}content-length: 99999999999\r\n\r\n".encode(),
        "unknown version": f"GET /hello HTTP/9.9\r\n{host}\r\n".encode(),
        "half a request": ("half", f"GET /hello HTTP/1.1\r\n{host}".encode()),
        "half a body": ("half", f"POST /hello HTTP/1.1\r\n{host}content-length: 100\r\n\r\nhello".encode()),
    }


def h1(arguments, sent):
    half = isinstance(sent, tuple)
    with open_tls(arguments, "http/1.1") as stream:
        stream.settimeout(SECONDS)
        try:
            stream.sendall(sent[1] if half else sent)
            if half:
                # Nothing more comes; what the server says then cannot be read as TLS any more, only that it ends.
                stream.shutdown(socket.SHUT_WR)
                while stream.recv(65536):
                    pass
                return "closed"
        except socket.timeout:
            if half:
                return "silent"
        except (ConnectionError, ssl.SSLError, OSError):
            pass
        received = b""
        try:
            while b"\r\n" not in received:
                part = stream.recv(65536)
                if not part:
                    return "closed"
                received += part
        except socket.timeout:
            return "silent"
        except (ConnectionError, ssl.SSLError, OSError):
            return "closed"
        line = received.split(b"\r\n", 1)[0].split(b" ")
        return f"status {line[1].decode()}" if line[0].startswith(b"HTTP/") else "not HTTP"


# HTTP/2: frames by hand.
def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def h2_cases(port):
    encoder = Encoder()

    def head(extra=(), without=(), end=True, flags=0x4):
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", f"{HOST}:{port}"), (":path", "/hello")]
        fields = [field for field in fields if field[0] not in without] + list(extra)
        return frame(1, flags | (1 if end else 0), 1, encoder.encode(fields))

    return {
        "none: a good request": head(),
        "no path": head(without=[":path"]),
        "no method": head(without=[":method"]),
        "upper case name": head([("X-Upper", "1")]),
        "connection header": head([("connection", "close")]),
        "pseudo header after others": head([("x-a", "1"), (":path", "/hello")]),
        "unknown pseudo header": head([(":nonsense", "1")]),
        "length does not match": head([("content-length", "5")], end=False) + frame(0, 1, 1, b"hello, more than five"),
        "huge header": frame(1, 0x1, 1, encoder.encode([(":method", "GET")])) + b"".join(frame(9, 0, 1, b"\x40\x01a\x7f\x80\x7e" + b"a" * 16000) for _ in range(300)),
        "data on an idle stream": frame(0, 0, 1, b"hello"),
        "even stream": frame(1, 5, 2, encoder.encode([(":method", "GET")])),
        "broken header block": frame(1, 5, 1, b"\xff" * 40),
        "frame too large": frame(0, 0, 1, b"a" * 70000),
        "window overflow": frame(8, 0, 0, (0x7FFFFFFF).to_bytes(4, "big")) * 3,
        "rapid reset": b"".join(frame(1, 5, 2 * n + 1, encoder.encode([(":method", "GET"), (":scheme", "https"), (":authority", f"{HOST}:{port}"), (":path", "/hello")])) + frame(3, 0, 2 * n + 1, (8).to_bytes(4, "big")) for n in range(3000)),
    }


def h2(arguments, sent):
    with open_tls(arguments, "h2") as stream:
        stream.settimeout(SECONDS)
        try:
            stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + sent)
        except (ConnectionError, ssl.SSLError, OSError):
            pass
        received = b""
        decoder = Decoder()
        try:
            while True:
                while len(received) >= 9:
                    length = int.from_bytes(received[:3], "big")
                    if len(received) < 9 + length:
                        break
                    kind, payload, received = received[3], received[9 : 9 + length], received[9 + length :]
                    if kind == 1:
                        return f"status {dict(decoder.decode(payload)).get(':status')}"
                    if kind == 3:
                        return "reset"
                    if kind == 7:
                        return "closed"
                part = stream.recv(65536)
                if not part:
                    return "closed"
                received += part
        except socket.timeout:
            return "silent"
        except (ConnectionError, ssl.SSLError, OSError):
            return "closed"


# HTTP/3: aioquic's encoder does not check what it is given.
def h3_cases(port):
    def head(extra=(), without=()):
        fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", f"{HOST}:{port}".encode()), (b":path", b"/hello")]
        return [field for field in fields if field[0] not in without] + list(extra)

    return {
        "none: a good request": head(),
        "no path": head(without=[b":path"]),
        "no method": head(without=[b":method"]),
        "upper case name": head([(b"X-Upper", b"1")]),
        "connection header": head([(b"connection", b"close")]),
        "unknown pseudo header": head([(b":nonsense", b"1")]),
        "huge headers": head([(b"x-a", b"a" * 16000)] * 300),
        "data before headers": b"\x00\x05hello",
        "unfinished headers": b"\x01\x80\x10\x00\x00" + b"a" * 1000,
        "settings on a request stream": b"\x04\x00",
        "length does not match": (head([(b"content-length", b"5")]), b"hello, more than five"),
    }


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.outcome = self._loop.create_future()

    def settle(self, outcome):
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.settle("closed")
        elif isinstance(event, (StreamReset, StopSendingReceived)):
            self.settle("reset")
        for received in self.http.handle_event(event):
            if isinstance(received, HeadersReceived):
                self.settle(f"status {dict(received.headers)[b':status'].decode()}")


async def h3(arguments, sent):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=HOST)
    configuration.load_verify_locations(arguments.ca)
    async with connect("127.0.0.1", arguments.port, configuration=configuration, create_protocol=Client) as client:
        stream = client._quic.get_next_available_stream_id()
        if isinstance(sent, bytes):
            client._quic.send_stream_data(stream, sent, end_stream=True)
        elif isinstance(sent, tuple):
            client.http.send_headers(stream, sent[0])
            client.http.send_data(stream, sent[1], end_stream=True)
        else:
            client.http.send_headers(stream, sent, end_stream=True)
        client.transmit()
        try:
            return await asyncio.wait_for(client.outcome, SECONDS)
        except asyncio.TimeoutError:
            return "silent"


def run_h3(arguments, sent):
    try:
        return asyncio.run(h3(arguments, sent))
    except ConnectionError:
        return "closed"


def alive(arguments):
    request = f"GET /hello?name=alive HTTP/1.1\r\nhost: {HOST}:{arguments.port}\r\nconnection: close\r\n\r\n".encode()
    return h1(arguments, request) == "status 200"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ca", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("protocol", choices=["h1", "h2", "h3"])
    arguments = parser.parse_args()
    cases, send = {"h1": (h1_cases, h1), "h2": (h2_cases, h2), "h3": (h3_cases, run_h3)}[arguments.protocol]
    outcomes = {}
    for name, sent in cases(arguments.port).items():
        outcomes[name] = {"outcome": send(arguments, sent), "alive": alive(arguments)}
    print(json.dumps(outcomes))


main()
