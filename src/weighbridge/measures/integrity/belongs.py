"""Which files belong into a checkpoint: by suffix, and by their first bytes whatever the suffix says."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from weighbridge.checkpoint.names import collisions
from weighbridge.checkpoint.opening import Checkpoint
from weighbridge.checkpoint.weights import OTHER_WEIGHT_SUFFIXES, PICKLED_SUFFIXES
from weighbridge.measures.integrity.notes import Notes, words

CODE_SUFFIXES = words(
    ".py .pyc .pyo .pyd .pyx .ipynb .so .dll .dylib .exe .com .msi .sh .bash .zsh .bat .cmd .ps1 .js .mjs .ts .jar "
    ".class .wasm .c .cc .cpp .cu .h .hpp .rb .pl .lua .go .rs .php .vbs .o .a .lib .app .desktop .service"
)
ARCHIVE_SUFFIXES = words(
    ".zip .tar .gz .tgz .bz2 .xz .7z .rar .zst .lz4 .whl .egg .deb .rpm .iso .img .dmg .cab .apk .nemo"
)
_IMAGES = {
    ".png": b"\x89PNG\r\n\x1a\n",
    ".jpg": b"\xff\xd8\xff",
    ".jpeg": b"\xff\xd8\xff",
    ".gif": b"GIF8",
    ".webp": b"RIFF",
}
_CHECKED_ELSEWHERE = frozenset({".safetensors", ".gguf"})
_SENTENCEPIECE = frozenset({".model", ".spm"})
_MAGIC = (
    (b"\x7fELF", "executable-file", "an ELF program"),
    (b"MZ", "executable-file", "a Windows program"),
    (b"\xfe\xed\xfa", "executable-file", "a Mach-O program"),
    (b"\xcf\xfa\xed\xfe", "executable-file", "a Mach-O program"),
    (b"\xca\xfe\xba\xbe", "executable-file", "a Mach-O program or Java class"),
    (b"\x00asm", "executable-file", "a WebAssembly module"),
    (b"#!", "executable-file", "a script"),
    (b"PK\x03\x04", "archive-file", "a zip archive (as torch's pickles are)"),
    (b"\x1f\x8b", "archive-file", "a gzip file"),
    (b"BZh", "archive-file", "a bzip2 file"),
    (b"\xfd7zXZ", "archive-file", "an xz file"),
    (b"7z\xbc\xaf\x27\x1c", "archive-file", "a 7z archive"),
    (b"Rar!", "archive-file", "a rar archive"),
    (b"\x28\xb5\x2f\xfd", "archive-file", "a zstd file"),
    (b"\x89HDF", "unreadable-weights", "an HDF5 file"),
    (b"\x93NUMPY", "pickled-file", "a NumPy file, which may hold pickled objects"),
)
_SAMPLE = 64 * 1024


def check_files(checkpoint: Checkpoint, notes: Notes) -> None:
    """One finding for each file that does not belong, and for each pair of names that cannot stand together."""
    for file in checkpoint.manifest.files:
        notes.count("files")
        _check_file(file.path, checkpoint.locate(file.path), notes)
    for first, second in collisions(file.path for file in checkpoint.manifest.files):
        notes.find("colliding-names", second, f"differs from {first} by case alone, or is a file and a folder")


def _check_file(name: str, path: Path, notes: Notes) -> None:
    suffix = PurePosixPath(name).suffix.lower()
    if any(part.startswith(".") for part in name.split("/")):
        notes.find("hidden-file", name, "a hidden file has no place in a checkpoint")
        return
    if suffix in PICKLED_SUFFIXES:
        notes.find("pickled-file", name, f"{suffix} files can run code when they are loaded")
    elif suffix in CODE_SUFFIXES:
        notes.find("code-file", name, "code has no place in a checkpoint")
    elif suffix in ARCHIVE_SUFFIXES:
        notes.find("archive-file", name, "an archive cannot be looked into")
    elif suffix in OTHER_WEIGHT_SUFFIXES:
        notes.find("unreadable-weights", name, "weights in a format that is not measured")
    elif suffix not in _CHECKED_ELSEWHERE:
        notes.attempt(name, lambda: _check_content(name, suffix, path, notes))


def _check_content(name: str, suffix: str, path: Path, notes: Notes) -> None:
    with path.open("rb") as stream:
        sample = stream.read(_SAMPLE)
    for magic, code, what in _MAGIC:
        if sample.startswith(magic) and not (magic == b"MZ" and _is_text(sample)):
            notes.find(code, name, f"is {what}")
            return
    if sample[:1] == b"\x80" and sample[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        notes.find("pickled-file", name, "is a Python pickle, which can run code when it is loaded")
    elif suffix in _IMAGES:
        if not sample.startswith(_IMAGES[suffix]):
            notes.find("unknown-file", name, f"is no {suffix[1:]} image")
    elif suffix in _SENTENCEPIECE:
        if not sample.startswith(b"\x0a"):
            notes.find("unknown-file", name, "is no SentencePiece model")
    elif not _is_text(sample):
        notes.find("unknown-file", name, "binary content of an unknown kind")


def _is_text(sample: bytes) -> bool:
    if b"\x00" in sample:
        return False
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(sample) == _SAMPLE and error.start > len(sample) - 4  # cut inside the last character
    return True
