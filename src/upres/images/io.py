"""Pictures in and out of files."""

from upres.images.formats import Encoding
from upres.images.picture import Picture
from upres.images.reading import MAX_PIXELS, check_format, check_input, format_of, look, read
from upres.images.writing import check_fits, check_output, format_for, lost, without_opaque_alpha, write, write_rows

__all__ = [
    "MAX_PIXELS",
    "Encoding",
    "Picture",
    "check_fits",
    "check_format",
    "check_input",
    "check_output",
    "format_for",
    "format_of",
    "look",
    "lost",
    "read",
    "without_opaque_alpha",
    "write",
    "write_rows",
]
