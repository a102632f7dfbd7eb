# mypy: ignore-errors
# Triton's language only looks like Python: its types are those of the GPU code it becomes.
"""The two GPU kernels of `implicit_gemm`, in Triton; imported only where Triton is there.

Each program computes one tile of a matrix product. What would be an entry of the im2col matrix is
an address instead: row and column of the matrix tell image, window, tap and channel, and these the
pixel. Entries outside of the image are masked, and read as zero.

Names in capitals are constants when the kernel is compiled, and so cost no instruction: dividing by
the number of channels or by the kernel's width becomes a multiplication.

Sources:
    Tillet, Kung, Cox: Triton: an intermediate language and compiler for tiled neural network
    computations (2019).
"""

import torch
import triton
import triton.language as tl


def operand(dtype: torch.dtype) -> tl.dtype:
    """The dtype in which numbers of a dtype are multiplied: the same.

    Triton's interpreter would multiply the bits of bfloat16 as integers. In float32 the product of
    two such numbers is exact, as it is in a tensor core.
    """
    if dtype == torch.bfloat16 and triton.knobs.runtime.interpret:
        return tl.float32
    return {
        torch.float32: tl.float32,
        torch.float16: tl.float16,
        torch.bfloat16: tl.bfloat16,
    }[dtype]


@triton.jit
def correlate(
    x,  # (N, G·C, H, W)
    w,  # (G, O, C, kH, kW)
    y,  # (N, G·O, H_out, W_out)
    bias,  # (G·O,), side by side in memory, or None
    pixels,  # N·H_out·W_out
    H,
    W,
    H_out,
    W_out,
    start_y,  # input pixel of the first window's first tap
    start_x,
    step_y,  # input pixels from window to window
    step_x,
    move_y,  # input pixels from tap to tap; negative if the kernel is walked backwards
    move_x,
    x_image,  # numbers in memory from one image, row, column to the next
    x_row,
    x_column,
    w_group,
    w_out,
    w_in,
    w_row,
    w_column,
    y_image,
    y_row,
    y_column,
    C: tl.constexpr,  # channels of a group
    O: tl.constexpr,  # noqa: E741
    KW: tl.constexpr,
    TAPS: tl.constexpr,  # kH·kW
    OPERAND: tl.constexpr,  # dtype in which the numbers are multiplied
    PRECISION: tl.constexpr,  # of float32 products
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Y = columnsᵀ · Wᵀ + bias: rows m are windows (n, y, x), columns o, summed over k = (tap, c).

    Programs that share windows follow each other, so that the pixels are still in the L2 cache.
    """
    tile, group = tl.program_id(0), tl.program_id(1)
    tiles_n = tl.cdiv(O, BLOCK_N)
    m = tile // tiles_n * BLOCK_M + tl.arange(0, BLOCK_M)
    o = tile % tiles_n * BLOCK_N + tl.arange(0, BLOCK_N)
    column, row, image = m % W_out, m // W_out % H_out, m // (W_out * H_out)
    first_y, first_x = row * step_y + start_y, column * step_x + start_x
    image = image.to(tl.int64)  # images times their size may exceed 32 bits
    windows = image * x_image + first_y.to(tl.int64) * x_row + first_x * x_column
    x += group * C
    w += group * w_group

    sums = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for first_k in range(0, TAPS * C, BLOCK_K):
        k = first_k + tl.arange(0, BLOCK_K)
        # A block within one tap needs one division instead of many.
        tap = first_k // C + tl.zeros_like(k) if C % BLOCK_K == 0 else k // C
        # Not % C, of which the compiler would not see that channels lie side by side.
        i, j, c = tap // KW, tap % KW, k - tap * C
        at_y, at_x = first_y[:, None] + (i * move_y)[None, :], first_x[:, None] + (j * move_x)[None]
        inside = (at_y >= 0) & (at_y < H) & (at_x >= 0) & (at_x < W)
        entries = i * move_y * x_row + j * move_x * x_column + c
        a = tl.load(
            x + windows[:, None] + entries[None, :],
            mask=inside & (m < pixels)[:, None] & (k < TAPS * C)[None, :],
            other=0.0,
        )  # (BLOCK_M, BLOCK_K)
        b = tl.load(
            w + (c * w_in + i * w_row + j * w_column)[:, None] + (o * w_out)[None, :],
            mask=(k < TAPS * C)[:, None] & (o < O)[None, :],
            other=0.0,
        )  # (BLOCK_K, BLOCK_N)
        sums = tl.dot(a.to(OPERAND), b.to(OPERAND), sums, input_precision=PRECISION)

    if bias is not None:
        sums += tl.load(bias + group * O + o, mask=o < O, other=0.0).to(tl.float32)[None, :]
    outputs = image * y_image + row.to(tl.int64) * y_row + column * y_column
    tl.store(
        y + group * O + outputs[:, None] + o[None, :],
        sums.to(y.dtype.element_ty),
        mask=(m < pixels)[:, None] & (o < O)[None, :],
    )


@triton.jit
def weight_sums(
    x,  # (N, G·C, H, W)
    grad,  # (N, G·O, H_out, W_out)
    sums,  # (parts, G·O, kH·kW·C)
    pixels,  # N·H_out·W_out
    part,  # pixels that one program sums over
    H,
    W,
    H_out,
    W_out,
    start_y,
    start_x,
    step_y,
    step_x,
    move_y,
    move_x,
    x_image,
    x_row,
    x_column,
    grad_image,
    grad_row,
    grad_column,
    C: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    KW: tl.constexpr,
    TAPS: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """∂/∂W = gradᵀ · columnsᵀ: rows o, columns k = (tap, c), summed over a part of the windows m.

    Each program writes its own sum. Adding to one place in memory would need no second pass, but
    programs come in no fixed order, and so the last bits of the result would change.
    """
    tile, which, group = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    tiles_n = tl.cdiv(TAPS * C, BLOCK_N)
    o = tile // tiles_n * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tile % tiles_n * BLOCK_N + tl.arange(0, BLOCK_N)
    tap = k // C
    i, j, c = tap // KW, tap % KW, k - tap * C
    entries = i * move_y * x_row + j * move_x * x_column + c
    x += group * C
    grad += group * O

    # The windows are counted like the miles of an odometer whose wheels are image, row and column:
    # BLOCK_K further is an addition to each wheel and two carries, instead of four divisions.
    first, last = which * part, tl.minimum(which * part + part, pixels)
    m = first + tl.arange(0, BLOCK_K)
    column, row, image = m % W_out, m // W_out % H_out, (m // (W_out * H_out)).to(tl.int64)
    next_column, next_row = BLOCK_K % W_out, BLOCK_K // W_out % H_out
    next_image = BLOCK_K // (W_out * H_out)

    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for first_m in range(first, last, BLOCK_K):
        here = first_m + tl.arange(0, BLOCK_K) < last
        outputs = image * grad_image + row.to(tl.int64) * grad_row + column * grad_column
        a = tl.load(
            grad + outputs[None, :] + o[:, None],
            mask=here[None, :] & (o < O)[:, None],
            other=0.0,
        )  # (BLOCK_M, BLOCK_K)
        first_y, first_x = row * step_y + start_y, column * step_x + start_x
        at_y, at_x = first_y[:, None] + (i * move_y)[None, :], first_x[:, None] + (j * move_x)[None]
        inside = (at_y >= 0) & (at_y < H) & (at_x >= 0) & (at_x < W)
        windows = image * x_image + first_y.to(tl.int64) * x_row + first_x * x_column
        b = tl.load(
            x + windows[:, None] + entries[None, :],
            mask=inside & here[:, None] & (k < TAPS * C)[None, :],
            other=0.0,
        )  # (BLOCK_K, BLOCK_N)
        acc = tl.dot(a.to(OPERAND), b.to(OPERAND), acc, input_precision=PRECISION)

        column += next_column
        carry = (column >= W_out).to(tl.int32)
        column -= carry * W_out
        row += next_row + carry
        carry = (row >= H_out).to(tl.int32)
        row -= carry * H_out
        image += next_image + carry

    rows = which.to(tl.int64) * (tl.num_programs(2) * O) + group * O + o
    tl.store(
        sums + (rows * (TAPS * C))[:, None] + k[None, :],
        acc,
        mask=(o < O)[:, None] & (k < TAPS * C)[None, :],
    )
