"""Choose the stream of an open video and its decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pseudolabel.contracts import UnusableSample

if TYPE_CHECKING:
    import av

MAX_FRAME_PIXELS = 2**24  # 4096 x 4096; libav holds up to 17 frames
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # libav's own decoders of these codecs drop the alpha
TELLING_CODECS = ("h264", "mpeg1video", "mpeg2video", "vc1", "wmv3", "dvvideo", "prores", "dnxhd")
PICTURE_CODECS = ("png", "apng")  # "interlaced" means that an image loads in passes
FIRST_FIELDS = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}  # AVFieldOrder of libavcodec -> the field shown first


def choose_stream(container: av.container.InputContainer) -> av.VideoStream:
    """Return the stream that libav thinks best, or else the first. Ignore cover art. Discard all others."""
    from av.stream import Discard, Disposition

    best = container.streams.best("video")
    streams = [s for s in (best, *container.streams.video) if s]
    films = [s for s in streams if not s.disposition & Disposition.attached_pic]
    if not films:
        others = {s.type for s in container.streams} - {"video"} | ({"cover art"} if streams else set())
        raise UnusableSample(f"no video stream, only {', '.join(sorted(others)) or 'nothing'}")
    chosen: av.VideoStream = films[0]
    if chosen.codec_context is None:
        raise UnusableSample("libav has no decoder for the video stream")
    for other in container.streams:
        if other is not chosen:
            other.discard = Discard.all
    return chosen


def choose_decoder(stream: av.VideoStream) -> av.VideoCodecContext:
    """Return a decoder of the stream, with its alpha channel if WebM says that it has one."""
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    decoder = stream.codec_context
    if decoder.name in ALPHA_DECODERS and stream.metadata.get("alpha_mode") == "1":
        name = ALPHA_DECODERS[decoder.name]
        try:
            with_alpha = Codec(name, "r").create("video")
        except UnknownCodecError:
            raise UnusableSample(
                f"transparent {decoder.name.upper()} needs the decoder {name}, which this PyAV lacks; "
                "install the wheel of PyPI: pip install av"
            ) from None
        with_alpha.extradata, decoder = decoder.extradata, with_alpha
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
    return decoder


class Fields(NamedTuple):
    """How the frames of a stream consist of fields. A field is every second line, from one moment."""

    flagged: bool  # whether frames themselves say that they are interlaced
    parity: str  # the field that every frame shows first; auto: each frame names its own
    separate: bool  # whether an interlaced frame is only one field

    def interlace(self, frame: av.VideoFrame) -> bool:
        """Return whether the frame is interlaced."""
        return self.parity != "auto" or (self.flagged and frame.interlaced_frame)


def fields_of(decoder: av.VideoCodecContext, container: str) -> Fields:
    """Return what the container says of fields, else what frames say. For `TELLING_CODECS`, use what frames say.

    For H.264 in Matroska, use the container as well: interlaced video that was encoded as progressive has no flags. In
    other containers, libav itself takes the field order from the first frames.
    """
    telling = decoder.name in TELLING_CODECS and (decoder.name, container[:8]) != ("h264", "matroska")
    parity = "auto" if telling else FIRST_FIELDS.get(int(decoder.field_order), "auto")
    return Fields(decoder.name not in PICTURE_CODECS, parity, separate=decoder.name == "hevc")
