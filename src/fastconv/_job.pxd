"""What one forward pass is, as the kernels see it: a plain struct that the driver fills and every block function reads.

All sizes and strides are in elements, all offsets relative to the pointers.  Spatial axes stand in the order d, h, w.
"""

from libc.stdint cimport int64_t, uintptr_t


cdef struct Axis:
    int64_t size            # input positions
    int64_t out             # output positions
    int64_t kernel
    int64_t stride
    int64_t dilation
    int64_t before          # padded positions before the input
    uintptr_t head          # int64[before]: input position (or -1: the constant) of the padded positions before it
    uintptr_t tail          # int64[]: likewise of those behind it
    int64_t constant        # head and tail hold nothing but the constant
    int64_t block           # output positions in one block of work
    int64_t blocks          # number of blocks
    int64_t step            # between padded positions that are staged side by side: the stride, or 1
    int64_t runs            # runs of equidistant padded positions that a block stages
    uintptr_t run_origin    # int64[runs]: first padded position, relative to the block's
    uintptr_t run_count     # int64[runs]: number of positions, for a whole block
    int64_t staged          # sum of run_count
    int64_t last_tap        # (kernel - 1) * dilation
    int64_t x               # strides
    int64_t y
    int64_t add
    int64_t bias
    int64_t points          # winograd: values that `tile` outputs are made of; 1 where the axis is left as it is
    int64_t tile
    int64_t phases          # winograd: convolutions that a dilation makes of it: of every n-th output,
    int64_t across          # or of one tile of every phase, with its first output in the first `dilation`
    int64_t whole           # outputs of all of them


cdef struct Job:
    Axis axis[3]
    uintptr_t function      # the block_function that computes a block of it
    int64_t n               # images
    int64_t groups
    int64_t c               # channels of a group, in
    int64_t o               # channels of a group, out
    int64_t x_n             # strides of the batch and channel axes
    int64_t x_c
    int64_t y_n
    int64_t y_o
    int64_t add_n
    int64_t add_o
    int64_t bias_o
    int64_t taps            # kernel positions
    int64_t chunk_channels  # channels summed in one chain
    int64_t chunk_taps      # taps summed in one chain: all of them, unless a chain is a part of one channel,
    int64_t span_taps       # namely of so many taps: all, a plane, or a row of the kernel
    int64_t packed          # pixels are packed into panels (im2col), else read along the row where they are (direct)
    int64_t pointwise       # or the channels of each are read one after the other where they are (im2col of one tap)
    int64_t band            # a tile is image rows × pixels of one channel or several (direct),
    int64_t form            # whose taps are taken in this way: a Form of _band.pxi
    int64_t band_rows       # image rows
    int64_t flush_rows      # rows of the kernel in one chain, where a band sums all the chains of a plane at once
    int64_t zero_border     # it reads rows in the input itself, which is padded with zeros
    int64_t channelwise     # a tile is pixels × channels with a kernel each (direct); groups count as channels
    int64_t lanes_are_pixels  # the vectors of a tile run along pixels, its rows along output channels; or the other way
    int64_t tile_rows
    int64_t tile_lanes
    int64_t pixel_tile      # pixels in a tile: tile_lanes or tile_rows;
    int64_t panel_pitch     # elements from one product to the next in a packed panel of them
    int64_t panel_step      # elements from one packed panel to the next
    int64_t channel_tile    # output channels in a tile: tile_rows or tile_lanes
    int64_t channel_tiles   # tiles in a group
    int64_t block_tiles     # of these, tiles in one block of work
    int64_t channel_blocks
    int64_t block_groups    # groups in one block of work
    int64_t group_blocks
    int64_t in_place        # input away from the borders may be read where it is
    int64_t to_output       # whole tiles may be summed where the output is to lie
    int64_t skips           # products that a tile's pixels all have with zero padding are left out
    int64_t x_last          # offset of the last element that may be read
    int64_t plane           # staged elements of one channel
    uintptr_t run_start     # int64[runs of columns]: where the first row of each begins
    int64_t row             # staged elements of one row
    uintptr_t staged_rows   # int64[chunk]: offset of each product's operand in the staged block
    uintptr_t placed_rows   # int64[chunk]: likewise in x itself
    uintptr_t panel_rows    # int64[chunk]: likewise in a packed panel
    int64_t unpacked        # `weight` is a Packing: each block packs what it multiplies, chain after chain,
    int64_t weights_at      # to this part of the workspace
    uintptr_t weight_rows   # int64[chunk]: offset of each product's weights in those of a tile
    int64_t panel_at        # where the parts of the workspace begin
    int64_t sums_at
    int64_t activation
    double padding_value
    int64_t items           # blocks of work
    int64_t splits          # grad_weight: runs of blocks of positions that are summed apart,
    int64_t rounds          # that many times,
    int64_t round           # of which this is one;
    int64_t flush           # blocks whose sums are kept together before they are added to the result,
    int64_t o_block         # output channels of an item (elementwise: elements),
    int64_t o_blocks
    int64_t dot_rows        # and rows × taps that are summed at once
    int64_t dot_taps
    int64_t over_rows       # rows are those of the kernel, else output channels
    int64_t rows_ahead      # which read so many rows of the gradient behind their block
    int64_t row_tiles       # or tiles that sum outer products, each
    uintptr_t tile_sizes    # int64[row_tiles]: of so many rows
    uintptr_t tile_factors  # int64[row_tiles]: and this offset of the first one's factor
    uintptr_t tile_kernel_rows  # int64[row_tiles]: and of this (d, h) of the kernel,
    uintptr_t tile_kernel_columns  # int64[row_tiles]: and this w, or several: -1;
    int64_t by_columns      # the positions of a chain go down the block's columns, and those of padding are left out
    int64_t rows_kept       # all together
    int64_t result_o        # strides of the result along output channels, 1 where input and gradient were exchanged,
    int64_t result_c        # and input channels
    uintptr_t row_of        # int64[chunk]: the row of each (channel, tap)
    int64_t pitch           # elements from one position's channels to the next's
    int64_t gradient_at     # parts of the workspace
    int64_t columns_at
    int64_t g_columns_at    # from columns_at
    int64_t products        # winograd: products of an output of each point, (channel, tap along d),
    int64_t chunk_products  # of these, products summed in one chain
    int64_t value_pitch     # elements from one point's transformed input to the next's,
    int64_t value_panel     # from one panel of it to the next,
    int64_t row_pitch       # and from one point to the next in a transformed row
    int64_t values_in_place  # blocks of whole tiles away from the borders are transformed where they lie
    int64_t value_channels  # channels that are staged at once
    int64_t part_tiles      # channel tiles whose products are kept at once
    int64_t values_at       # parts of the workspace
    int64_t rows_at
    int64_t products_at
    int64_t outputs_at
    int64_t flags_at
    uintptr_t value_rows    # int64[chunk_products]: offset of each product's operand in a panel
    uintptr_t value_weights  # int64[chunk_products]: and of its weights
    int64_t weights_plane   # elements from one point's weights to the next's
    uintptr_t transformed   # the transformed weights
    uintptr_t x             # the arrays
    uintptr_t weight
    uintptr_t bias
    uintptr_t add
    uintptr_t y


ctypedef void (*block_function)(const Job* job, int64_t item, void* workspace) noexcept nogil


cdef struct Packing:
    # Weights, and how they are to lie: strides in elements
    int64_t groups
    int64_t channels        # of a group
    int64_t width           # channels of a tile
    int64_t group_stride
    int64_t channel_stride
    int64_t size[4]         # products of a channel: the axes (c, d, h, w), merged where they lie evenly
    int64_t stride[4]
    uintptr_t weight
    uintptr_t packed


ctypedef bint (*pack_function)(const Packing* packing) noexcept nogil


cdef struct Transform:
    # Packed weights and what they are to become: (groups, points, tiles, products, channels of a tile)
    int64_t groups
    int64_t tiles
    int64_t products        # of each point
    int64_t width           # channels of a tile
    int64_t plane           # elements from one point to the next
    int64_t first           # of (groups, tiles, products): those from here
    int64_t last            # to before here
    int64_t points[2]       # along h and w
    int64_t taps[2]
    uintptr_t matrix[2]     # real[points, taps]
    uintptr_t packed
    uintptr_t transformed


ctypedef void (*transform_function)(const Transform* transform) noexcept nogil
