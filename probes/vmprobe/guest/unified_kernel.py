"""A unified kernel image: one EFI program that holds kernel, initrd and command line.

Follows Microsoft's PE format, and "Unified Kernel Image" of the UAPI Group.
"""

from __future__ import annotations

import struct
from typing import Dict, NamedTuple

from vmprobe.core.errors import ClientError

_SECTION = struct.Struct("<8s8I")
_READABLE_DATA = 0x40000040


def image(stub: bytes, sections: Dict[str, bytes]) -> bytes:
    """Append ``sections`` to ``stub`` (systemd's linuxx64.efi.stub).

    Each section is placed behind everything that is there before. ClientError if the stub has no
    room for them, or is no 64 bit PE image.
    """
    program = bytearray(stub)
    (header,) = struct.unpack_from("<I", program, 0x3C)
    marks = bytes(program[:2] + program[header : header + 4] + program[header + 24 : header + 26])
    if marks != b"MZ" + b"PE\0\0" + b"\x0b\x02":
        raise ClientError("the EFI stub is no 64 bit PE image")
    (count,) = struct.unpack_from("<H", program, header + 6)
    (optional,) = struct.unpack_from("<H", program, header + 20)
    alignment, file_alignment = struct.unpack_from("<II", program, header + 24 + 32)
    (headers_size,) = struct.unpack_from("<I", program, header + 24 + 60)
    table = header + 24 + optional

    present = [
        _Section(*_SECTION.unpack_from(program, table + number * _SECTION.size))
        for number in range(count)
    ]
    room = min([headers_size] + [section.raw_offset for section in present if section.raw_offset])
    if table + (count + len(sections)) * _SECTION.size > room:
        raise ClientError(f"the EFI stub has no room for {len(sections)} more sections")
    address = max(section.address + section.size for section in present)
    for name, content in sections.items():
        address = -(-address // alignment) * alignment
        program += bytes(-len(program) % file_alignment)
        raw_size = -(-len(content) // file_alignment) * file_alignment
        section = _Section(
            name.encode(), len(content), address, raw_size, len(program), 0, 0, 0, _READABLE_DATA
        )
        _SECTION.pack_into(program, table + count * _SECTION.size, *section)
        program += content + bytes(raw_size - len(content))
        address += len(content)
        count += 1
    struct.pack_into("<H", program, header + 6, count)
    size_of_image = -(-address // alignment) * alignment
    struct.pack_into("<I", program, header + 24 + 56, size_of_image)
    return bytes(program)


class _Section(NamedTuple):
    """A section header of PE/COFF: sizes and addresses in memory, raw: in the file."""

    name: bytes
    size: int
    address: int
    raw_size: int
    raw_offset: int
    relocations: int
    lines: int
    counts: int
    flags: int
