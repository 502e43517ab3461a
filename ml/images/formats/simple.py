"""GIF and QOI: formats whose header is a size."""

import io
import struct

from PIL import GifImagePlugin, Image, QoiImagePlugin

from ml.images.header import Header


def read_gif(data: bytes) -> Header:
    return Header("GIF", *struct.unpack_from("<HH", data, 6))


def open_gif(data: bytes, header: Header) -> Image.Image:
    return GifImagePlugin.GifImageFile(io.BytesIO(data))


def read_qoi(data: bytes) -> Header:
    return Header("QOI", *struct.unpack_from(">II", data, 4))


def open_qoi(data: bytes, header: Header) -> Image.Image:
    return QoiImagePlugin.QoiImageFile(io.BytesIO(data))
