# SPDX-License-Identifier: Apache-2.0 OR MIT

"""A WebRTC peer (aiortc) that plays known audio and writes down what it hears.

Each line of standard input is a JSON object with what to `do`, each line of standard output the
answer. Audio is A-law codes (ITU-T G.711), 8000 a second, in files: PLAY is played again and again,
HEARD is written at the end.
"""

import asyncio
import audioop
import fractions
import json
import sys
import time

import aioice
from aiortc import (
    MediaStreamTrack,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

RATE = 8000
FRAME = 160


class Player(MediaStreamTrack):
    kind = "audio"

    def __init__(self, codes):
        super().__init__()
        self.codes = codes
        self.frames = 0
        self.start = None

    async def recv(self):
        now = time.monotonic()
        if self.start is None:
            self.start = now
        await asyncio.sleep(self.start + self.frames * FRAME / RATE - now)
        at = self.frames * FRAME % len(self.codes)
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME)
        frame.planes[0].update(audioop.alaw2lin(self.codes[at : at + FRAME], 2))
        frame.pts = self.frames * FRAME
        frame.sample_rate = RATE
        frame.time_base = fractions.Fraction(1, RATE)
        self.frames += 1
        return frame


async def listen(track, heard):
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        heard.extend(audioop.lin2alaw(bytes(frame.planes[0])[: 2 * frame.samples], 2))


class Restart:
    """A restart of ICE (RFC 8445 section 9), which aiortc does not know: another ICE agent, with
    names and a port of its own, takes the place of the one that it has. DTLS goes on.
    """

    def __init__(self, connection):
        self.transport = connection.getSenders()[0].transport.transport
        self.old = self.transport._connection
        self.new = aioice.Connection(ice_controlling=True)
        # Where DTLS and media wait.
        self.new._queue = self.old._queue

    async def offer(self, sdp):
        await self.new.gather_candidates()
        lines = []
        for line in sdp.splitlines():
            if line.startswith("m="):
                port = self.new.get_default_candidate(1).port
                line = " ".join(["m=audio", str(port), *line.split()[2:]])
            elif line.startswith("a=ice-ufrag:"):
                line = f"a=ice-ufrag:{self.new.local_username}"
                for candidate in self.new.local_candidates:
                    lines.append(f"a=candidate:{candidate.to_sdp()}")
            elif line.startswith("a=ice-pwd:"):
                line = f"a=ice-pwd:{self.new.local_password}"
            elif line.startswith("a=candidate:"):
                continue
            lines.append(line)
        return "".join(f"{line}\r\n" for line in lines)

    async def accept(self, sdp):
        for line in sdp.splitlines():
            name, _, value = line.partition(":")
            if name == "a=ice-ufrag":
                self.new.remote_username = value
            elif name == "a=ice-pwd":
                self.new.remote_password = value
            elif name == "a=ice-lite":
                self.new.remote_is_lite = True
            elif name == "a=candidate":
                candidate = aioice.Candidate.from_sdp(value)
                await self.new.add_remote_candidate(candidate)
        await self.new.add_remote_candidate(None)
        await self.new.connect()
        self.transport._recv = self.new.recv
        self.transport._send = self.new.send
        self.old._query_consent_handle.cancel()


async def main(play, heard_path):
    with open(play, "rb") as file:
        player = Player(file.read())
    heard = bytearray()
    listeners = []
    connection = RTCPeerConnection()
    restart = None

    @connection.on("track")
    def on_track(track):
        listeners.append(asyncio.ensure_future(listen(track, heard)))

    def prefer_pcma(transceiver):
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        transceiver.setCodecPreferences(
            [codec for codec in codecs if codec.mimeType == "audio/PCMA"]
        )

    loop = asyncio.get_event_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            break
        command = json.loads(line)
        what = command["do"]
        answer = {}
        if what == "offer":
            if not connection.getTransceivers():
                connection.addTrack(player)
                prefer_pcma(connection.getTransceivers()[0])
            await connection.setLocalDescription(await connection.createOffer())
            answer["sdp"] = connection.localDescription.sdp
        elif what == "accept":
            await connection.setRemoteDescription(
                RTCSessionDescription(command["sdp"], "answer")
            )
        elif what == "answer":
            await connection.setRemoteDescription(
                RTCSessionDescription(command["sdp"], "offer")
            )
            if not any(sender.track for sender in connection.getSenders()):
                connection.addTrack(player)
            await connection.setLocalDescription(await connection.createAnswer())
            answer["sdp"] = connection.localDescription.sdp
        elif what == "restart":
            restart = Restart(connection)
            answer["sdp"] = await restart.offer(connection.localDescription.sdp)
        elif what == "accept restart":
            await restart.accept(command["sdp"])
        elif what == "state":
            answer["state"] = connection.connectionState
            answer["heard"] = len(heard)
        elif what == "end":
            break
        print(json.dumps(answer), flush=True)
    with open(heard_path, "wb") as file:
        file.write(heard)
    if restart:
        await restart.new.close()
    await connection.close()
    print("{}", flush=True)


asyncio.run(main(*sys.argv[1:]))
