// XOR codes over bytes. Pieces are cut in stripes, a stripe in rows of `unit` bytes; rows of targets are
// XORs of rows of sources of the same stripe, the same rows in every stripe.

struct Source {
    const unsigned char* data;
    Int size;  // bytes; what is behind counts as zeros
};

const int CHUNK = 16;  // bytes of a thread

struct Chunk {
    Word words[2];
};

__device__ inline Chunk read(const Source& source, Int start, Int wanted) {
    Chunk chunk = {{0, 0}};
    const unsigned char* from = source.data + start;
    if (wanted == CHUNK && start + CHUNK <= source.size && (Word)from % CHUNK == 0) {
        Pack<Word, 2> pack = *(const Pack<Word, 2>*)from;
        return {{pack.values[0], pack.values[1]}};
    }
    for (Int i = 0; i < wanted && start + i < source.size; ++i)
        chunk.words[i / 8] |= (Word)from[i] << (8 * (i % 8));
    return chunk;
}

__device__ inline void write(unsigned char* to, Int wanted, const Chunk& chunk) {
    if (wanted == CHUNK && (Word)to % CHUNK == 0) {
        *(Pack<Word, 2>*)to = {{chunk.words[0], chunk.words[1]}};
        return;
    }
    for (Int i = 0; i < wanted; ++i) to[i] = (unsigned char)(chunk.words[i / 8] >> (8 * (i % 8)));
}

struct Term {
    int source, row;
};

// terms[ends[t - 1] .. ends[t]) are the source rows of row t of all targets. The rows of a stripe are read by every target while it is in cache.
__global__ void xor_rows(const Source* sources, unsigned char* const* out, const Int* ends, const Term* terms,
                         Int targets, Int rows, Int start, Int stripes, Int unit) {
    const Int chunks = (unit + CHUNK - 1) / CHUNK, step = (Int)gridDim.x * blockDim.x;
    const Int lines = rows * targets, all = chunks * lines * stripes;
    for (Int i = (Int)blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        Int above = quotient(i, chunks), stripe = quotient(above, lines), line = above - stripe * lines;
        Int within = (i - above * chunks) * CHUNK, wanted = unit - within < CHUNK ? unit - within : CHUNK;
        Int target = quotient(line, rows), place = start + stripe * rows * unit + within;
        Chunk sum = {{0, 0}};
        for (Int t = line ? ends[line - 1] : 0; t < ends[line]; ++t) {
            Term term = terms[t];
            Chunk chunk = read(sources[term.source], place + term.row * unit, wanted);
            sum.words[0] ^= chunk.words[0];
            sum.words[1] ^= chunk.words[1];
        }
        write(out[target] + place + (line - target * rows) * unit, wanted, sum);
    }
}

// What checksums are made of: dask_coded/kernels/erasure/checksums.py says how. Tiles of `tile` bytes; of the
// words of each the sums in `width` columns.
__global__ void word_sums(const unsigned char* data, Word* sums, Int size, Int tile, Int width) {
    const Int all = (size + tile - 1) / tile * width, step = (Int)gridDim.x * blockDim.x;
    const bool fast = (Word)data % 8 == 0 && tile % 8 == 0;
    for (Int i = (Int)blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        Int number = quotient(i, width), start = number * tile;
        Int words = (size - start < tile ? size - start : tile) / 8;
        Word sum = 0;
        for (Int w = i - number * width; w < words; w += width) {
            const unsigned char* from = data + start + 8 * w;
            if (fast) {
                sum += *(const Word*)from;
                continue;
            }
            for (int b = 0; b < 8; ++b) sum += (Word)from[b] << (8 * b);
        }
        sums[i] = sum;
    }
}

// Polynomials over GF(2) modulo that of CRC-32, the highest power in the lowest bit.
__device__ inline unsigned times_x(unsigned a) { return a >> 1 ^ (0xedb88320u & -(a & 1)); }
__device__ inline unsigned times(unsigned a, unsigned b) {
    unsigned product = 0;
    for (unsigned bit = 1u << 31; bit; bit >>= 1) {
        product ^= a & bit ? b : 0;
        b = times_x(b);
    }
    return product;
}

struct Remainder {
    unsigned crc;  // of the sums as bytes, from 0 and not inverted
    unsigned unused;
    Word rest;  // the bytes of the tile that make no word
};

// A warp takes a tile: every thread the remainder of some of its sums, times x to the power of the bits that
// follow: powers[w] is that of w words.
__global__ void remainders(const unsigned char* data, const Word* sums, const unsigned* powers, Remainder* out,
                           Int size, Int tile, Int width) {
    const Int tiles = (size + tile - 1) / tile, share = (width + warpSize - 1) / warpSize;
    for (Int number = warp_index(); number < tiles; number += warp_count()) {
        Int start = number * tile, taken = size - start < tile ? size - start : tile;
        Int count = taken / 8 < width ? taken / 8 : width;
        Int first = share * lane_index(), end = first + share < count ? first + share : count;
        unsigned crc = 0;
        for (Int w = first; w < end; ++w) {
            Word word = sums[number * width + w];
            for (int half = 0; half < 2; ++half) {
                crc ^= (unsigned)(word >> (32 * half));
                for (int bit = 0; bit < 32; ++bit) crc = times_x(crc);
            }
        }
        crc = first < end ? times(crc, powers[count - end]) : 0;
        for (int step = 16; step; step /= 2) crc ^= __shfl_down_sync(EVERY_LANE, crc, step);
        if (lane_index() != 0) continue;
        Word rest = 0;
        for (Int b = taken / 8 * 8; b < taken; ++b) rest |= (Word)data[start + b] << (8 * (b % 8));
        out[number] = {crc, 0, rest};
    }
}
