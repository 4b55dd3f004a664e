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

// terms[ends[t - 1] .. ends[t]) are the source rows of row t of all targets, as source * rows + row. Targets
// lie one after another, `size` bytes each. The rows of a stripe are read by every target while it is in cache.
__global__ void xor_rows(const Source* sources, unsigned char* out, const Int* ends, const Int* terms, Int targets,
                         Int rows, Int size, Int start, Int stripes, Int unit) {
    const Int chunks = (unit + CHUNK - 1) / CHUNK, step = (Int)gridDim.x * blockDim.x;
    const Int all = chunks * rows * targets * stripes;
    for (Int i = (Int)blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        Int within = i % chunks * CHUNK, wanted = unit - within < CHUNK ? unit - within : CHUNK;
        Int line = i / chunks % (rows * targets), stripe = start + i / chunks / (rows * targets) * rows * unit;
        Chunk sum = {{0, 0}};
        for (Int t = line ? ends[line - 1] : 0; t < ends[line]; ++t) {
            Chunk chunk = read(sources[terms[t] / rows], stripe + terms[t] % rows * unit + within, wanted);
            sum.words[0] ^= chunk.words[0];
            sum.words[1] ^= chunk.words[1];
        }
        write(out + line / rows * size + stripe + line % rows * unit + within, wanted, sum);
    }
}

// Sums of the words of each tile in columns (dask_coded/kernels/erasure/checksums.py says what for); in the
// last column the bytes that make no word.
__global__ void word_sums(const unsigned char* data, Word* sums, Int size, Int tile, Int width) {
    const Int all = (size + tile - 1) / tile * width, step = (Int)gridDim.x * blockDim.x;
    const bool fast = (Word)data % 8 == 0 && tile % 8 == 0;
    for (Int i = (Int)blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        Int start = i / width * tile, words = (size - start < tile ? size - start : tile) / 8;
        Word sum = 0;
        if (i % width == width - 1)
            for (Int b = 8 * words; b < size - start && b < tile; ++b)
                sum |= (Word)data[start + b] << (8 * (b - 8 * words));
        else for (Int w = i % width; w < words; w += width - 1) {
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
