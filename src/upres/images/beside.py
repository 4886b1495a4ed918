"""What a picture file holds beside its pixels, as far as libvips misses it or mistakes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO

from upres.errors import PictureError
from upres.images import boxes, chunks, metadata, segments
from upres.images.profiles import Colours

_LONGEST_PHOTOSHOP = 65_533  # bytes that a JPEG segment holds


@dataclass(frozen=True)
class Beside:
    """What was found.

    Attributes:
        instead: of the fields that libvips reads, under its names, these have what is right; None for nothing. And
            `png-texts`: chunks of text.
        unkept: what no result will have.
        colours: what the numbers mean where there is no ICC profile.
        counts_from_white: whether 0 is white.
        damage: that libvips would not notice; None for none.
        is_jpeg_coded: whether a TIFF's pixels are.
        is_lossless: whether a WebP's pixels were coded without loss.
        has_profile: whether a PNG or JPEG has an ICC profile; libvips drops one that does not fit the pixels.
    """

    instead: dict[str, bytes | None] = field(default_factory=dict[str, Any])
    unkept: tuple[str, ...] = ()
    colours: Colours | None = None
    counts_from_white: bool = False
    damage: str | None = None
    is_jpeg_coded: bool = False
    is_lossless: bool = False
    has_profile: bool = False


def look(name: str, kind: str, file: BinaryIO) -> Beside:
    """Look through a file.

    Args:
        name: of the file.
        kind: libvips' name for its format.
        file: its content.

    Raises:
        PictureError: a camera's raw file, an animated PNG, texts made to fill the memory, a TIFF that keeps YCbCr as
            such.
        OSError: the disk refuses it.
    """
    match kind:
        case "Png":
            return _beside_png(name, file)
        case "Nsgif":
            return _beside_gif(file)
        case "Jpeg" | "Uhdr":
            return _beside_jpeg(file, has_gain_map=kind == "Uhdr")
        case "Tiff":
            return _beside_tiff(name, file)
        case "Webp":
            return Beside(is_lossless=chunks.is_lossless_webp(file))
        case "Heif":
            heif = boxes.heif_parts(file)
            return Beside(unkept=heif.unkept, colours=heif.colours)
        case _:
            return Beside()


def _beside_png(name: str, file: BinaryIO) -> Beside:
    found = chunks.png_parts(file)
    if found.frames > 1:
        raise PictureError(f"{name}: a PNG of {found.frames} frames, of which libvips reads one; give it as WebP.")
    if not found.text_fits:
        raise PictureError(f"{name}: its texts take more than 16 MB unpacked; write the picture anew without them.")
    instead = {
        "png-texts": found.texts or None,
        "xmp-data": found.late_xmp,
        "exif-data": None if found.late_exif is None else metadata.EXIF_MARK + found.late_exif,
    }
    present: dict[str, bytes | None] = {name: block for name, block in instead.items() if block is not None}
    return Beside(present, colours=found.colours, has_profile=found.has_profile)


def _beside_gif(file: BinaryIO) -> Beside:
    found = chunks.gif_parts(file)
    damage = None if found.is_whole else "its end is missing"
    return Beside(unkept=found.unkept, damage=damage)


def _beside_jpeg(file: BinaryIO, *, has_gain_map: bool) -> Beside:
    found = segments.jpeg_parts(file)
    photoshop = None if found.photoshop is None else metadata.without_thumbnail_of_photoshop(found.photoshop)
    is_long = photoshop is not None and len(photoshop) > _LONGEST_PHOTOSHOP
    if photoshop is not None and is_long:
        records = metadata.iptc_records(photoshop)
        photoshop = None if records is None else metadata.iptc_block(records)
    has_video = found.xmp is not None and metadata.tells_of_video(found.xmp)
    unkept = {
        "comment": found.has_comment,
        "extended XMP": found.has_extended_xmp,
        "Photoshop's blocks": is_long,
        "further pictures": found.further_pictures > has_gain_map,
        "video": has_video,
    }
    return Beside(
        {
            "xmp-data": None if found.xmp is None else metadata.xmp_of_picture_alone(found.xmp),
            "iptc-data": photoshop,
        },
        tuple(kind for kind, is_there in unkept.items() if is_there),
        has_profile=found.has_profile,
    )


def _beside_tiff(name: str, file: BinaryIO) -> Beside:
    if metadata.is_raw(file):
        raise PictureError(
            f"{name}: a camera's raw file, or only a preview of what follows it; develop it to TIFF or JPEG."
        )
    form = metadata.pixel_form(file)
    if form.is_plain_ycbcr:
        raise PictureError(f"{name}: its colours are YCbCr, and not in JPEG's code; write it anew as RGB.")
    damage = None if metadata.has_all_pages(file) else "its last pages are missing"
    damage = "its last rows are missing" if form.is_cut else damage
    iptc = metadata.iptc_of_tiff(file)
    return Beside(
        {
            "exif-data": metadata.exif_of_tiff(file),
            "iptc-data": None if iptc is None else metadata.iptc_block(iptc),
            "xmp-data": metadata.xmp_of_tiff(file),
        },
        unkept=metadata.unkept_of_tiff(file),
        counts_from_white=form.counts_from_white,
        damage=damage,
        is_jpeg_coded=form.is_jpeg_coded,
    )
