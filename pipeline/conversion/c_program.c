/* Runs the transformer of model.h with nothing but the C library:

       cc -O2 run.c -lm -o run && ./run TEXT [NEW_TOKENS]

   Qwen3's architecture. A matrix is bytes, each a number of as many base-L digits as fit, the first digit the least significant, and scales,
   for as many equal parts of a row as there are. Where the tokens are not single characters, TEXT is the tokens' numbers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

enum { QUERY, KEY, VALUE, OUTPUT, GATE, UP, DOWN, EACH };        /* matrices of a layer; MATRICES[0] is the embedding */
enum { BEFORE_ATTENTION, OF_QUERY, OF_KEY, BEFORE_MLP, VECTORS_EACH }; /* vectors of a layer; the last of VECTORS is the output's */

static float *numbers(size_t count) {
    float *made = calloc(count ? count : 1, sizeof(float));
    if (!made) {
        fputs("not enough memory\n", stderr);
        exit(1);
    }
    return made;
}

/* Row `row` of a matrix as floats. */
static void decode(const struct matrix *m, int row, float *out) {
    int in_byte = 1, power = m->levels, part = m->columns / m->groups;
    for (; power * m->levels <= 256; power *= m->levels) ++in_byte;
    const unsigned char *code = m->codes + (size_t)row * ((m->columns + in_byte - 1) / in_byte);
    for (int column = 0, rest = 0; column < m->columns; ++column, rest /= m->levels) {
        if (column % in_byte == 0) rest = *code++;
        out[column] = (float)(rest % m->levels - m->levels / 2) * m->scale[(size_t)row * m->groups + column / part];
    }
}

/* out[t, r] = sum over c of m[r, c] x[t, c], for `count` vectors x. */
static void multiply(const struct matrix *m, const float *x, int count, float *out) {
    float *weights = numbers(m->columns);
    for (int row = 0; row < m->rows; ++row) {
        decode(m, row, weights);
        for (int t = 0; t < count; ++t) {
            const float *vector = x + (size_t)t * m->columns;
            float sums[4] = {0}, last = 0;
            int c = 0;
            for (; c + 4 <= m->columns; c += 4)
                for (int i = 0; i < 4; ++i) sums[i] += weights[c + i] * vector[c + i];
            for (; c < m->columns; ++c) last += weights[c] * vector[c];
            out[(size_t)t * m->rows + row] = sums[0] + sums[1] + sums[2] + sums[3] + last;
        }
    }
    free(weights);
}

/* Each of `count` vectors divided by its root mean square, times a weight a channel. */
static void normalize(const float *x, const float *weight, int count, int width, float *out) {
    for (int t = 0; t < count; ++t, x += width, out += width) {
        float sum = 0;
        for (int c = 0; c < width; ++c) sum += x[c] * x[c];
        float factor = 1 / sqrtf(sum / width + EPSILON);
        for (int c = 0; c < width; ++c) out[c] = x[c] * factor * weight[c];
    }
}

/* Rotary positions: channel i turns together with channel i + CHANNELS / 2. */
static void rotate(float *x, int position) {
    for (int i = 0; i < CHANNELS / 2; ++i) {
        float angle = position * powf(ROPE_BASE, -2.0f * i / CHANNELS);
        float cosine = cosf(angle), sine = sinf(angle), first = x[i], second = x[i + CHANNELS / 2];
        x[i] = first * cosine - second * sine;
        x[i + CHANNELS / 2] = second * cosine + first * sine;
    }
}

/* One head of one token: the values of the tokens up to it, weighted by the softmax of their keys' products with its query. */
static void attend(const float *query, const float *keys, const float *values, int seen, float *scores, float *out) {
    float most = -INFINITY, total = 0;
    for (int t = 0; t < seen; ++t) {
        scores[t] = 0;
        for (int c = 0; c < CHANNELS; ++c) scores[t] += query[c] * keys[(size_t)t * CHANNELS + c];
        scores[t] /= sqrtf(CHANNELS);
        if (scores[t] > most) most = scores[t];
    }
    for (int t = 0; t < seen; ++t) total += scores[t] = expf(scores[t] - most);
    for (int c = 0; c < CHANNELS; ++c) {
        out[c] = 0;
        for (int t = 0; t < seen; ++t) out[c] += scores[t] / total * values[(size_t)t * CHANNELS + c];
    }
}

/* Logits [count, VOCABULARY] of `count` tokens after `past` others. keys and values of layer l and head h begin at
   ((l * stride) + h) * room * CHANNELS, hold the past and get the new; stride is GROUPS for a single sequence. */
static void forward(const long long *tokens, int count, int past, int room, int stride, float *keys, float *values, float *logits) {
    int wide = HEADS * CHANNELS, narrow = GROUPS * CHANNELS;
    size_t n = count;
    float *x = numbers(n * WIDTH), *normed = numbers(n * WIDTH), *added = numbers(n * WIDTH), *scores = numbers(past + n);
    float *q = numbers(n * wide), *k = numbers(n * narrow), *v = numbers(n * narrow), *mixed = numbers(n * wide);
    float *gate = numbers(n * INNER), *up = numbers(n * INNER);
    for (int t = 0; t < count; ++t) decode(&MATRICES[0], (int)tokens[t], x + (size_t)t * WIDTH);
    for (int layer = 0; layer < LAYERS; ++layer) {
        const struct matrix *m = MATRICES + 1 + layer * EACH;
        const float *const *vector = VECTORS + layer * VECTORS_EACH;
        normalize(x, vector[BEFORE_ATTENTION], count, WIDTH, normed);
        multiply(m + QUERY, normed, count, q);
        multiply(m + KEY, normed, count, k);
        multiply(m + VALUE, normed, count, v);
        normalize(q, vector[OF_QUERY], count * HEADS, CHANNELS, q);
        normalize(k, vector[OF_KEY], count * GROUPS, CHANNELS, k);
        for (int t = 0; t < count; ++t) {
            for (int head = 0; head < GROUPS; ++head) {
                size_t place = (((size_t)layer * stride + head) * room + past + t) * CHANNELS, from = (size_t)t * narrow + head * CHANNELS;
                rotate(k + from, past + t);
                memcpy(keys + place, k + from, CHANNELS * sizeof(float));
                memcpy(values + place, v + from, CHANNELS * sizeof(float));
            }
            for (int head = 0; head < HEADS; ++head) {
                size_t place = ((size_t)layer * stride + head / (HEADS / GROUPS)) * room * CHANNELS;
                float *query = q + (size_t)t * wide + head * CHANNELS;
                rotate(query, past + t);
                attend(query, keys + place, values + place, past + t + 1, scores, mixed + (size_t)t * wide + head * CHANNELS);
            }
        }
        multiply(m + OUTPUT, mixed, count, added);
        for (size_t i = 0; i < n * WIDTH; ++i) x[i] += added[i];
        normalize(x, vector[BEFORE_MLP], count, WIDTH, normed);
        multiply(m + GATE, normed, count, gate);
        multiply(m + UP, normed, count, up);
        for (size_t i = 0; i < n * INNER; ++i) gate[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
        multiply(m + DOWN, gate, count, added);
        for (size_t i = 0; i < n * WIDTH; ++i) x[i] += added[i];
    }
    normalize(x, VECTORS[LAYERS * VECTORS_EACH], count, WIDTH, normed);
    multiply(&MATRICES[TIED ? 0 : 1 + LAYERS * EACH], normed, count, logits);
    float *all[] = {x, normed, added, scores, q, k, v, mixed, gate, up};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); ++i) free(all[i]);
}

/* For callers of the shared library: logits [batch, count, VOCABULARY] of tokens [batch, count]; keys and values
   [LAYERS, batch, GROUPS, past + count, CHANNELS] hold the past. */
void run_batch(const long long *tokens, int batch, int count, int past, float *keys, float *values, float *logits) {
    for (int b = 0; b < batch; ++b) {
        size_t offset = (size_t)b * GROUPS * (past + count) * CHANNELS, done = (size_t)b * count;
        forward(tokens + done, count, past, past + count, batch * GROUPS, keys + offset, values + offset, logits + done * VOCABULARY);
    }
}

/* The next token of a text, or -1 for a character that is none. */
static long long next_token(const char **text) {
    if (!CHARACTERS) return strtoll(*text, (char **)text, 10);
    for (int token = 0; token < VOCABULARY; ++token) {
        size_t length = strlen(TOKENS[token]);
        if (token != END && token != UNKNOWN && length && !strncmp(*text, TOKENS[token], length)) {
            *text += length;
            return token;
        }
    }
    do ++*text;
    while ((**text & 0xC0) == 0x80);
    return UNKNOWN;
}

int main(int given, char **words) {
    static long long tokens[CONTEXT];
    size_t cache = (size_t)LAYERS * GROUPS * CONTEXT * CHANNELS;
    float *keys = numbers(cache), *values = numbers(cache), *logits = numbers((size_t)CONTEXT * VOCABULARY);
    int count = 0, left = given > 2 ? atoi(words[2]) : 100, past = 0;
    for (const char *text = given > 1 ? words[1] : ""; *text;) {
        if (count == CONTEXT || (tokens[count++] = next_token(&text)) < 0 || tokens[count - 1] >= VOCABULARY) {
            fprintf(stderr, "the model cannot read this text: at most %d tokens of its alphabet\n", CONTEXT);
            return 1;
        }
    }
    if (!count) {
        fprintf(stderr, "usage: %s TEXT [NEW_TOKENS]\n", words[0]);
        return 1;
    }
    for (; left > 0 && count < CONTEXT; --left) {
        forward(tokens + past, count - past, past, CONTEXT, GROUPS, keys, values, logits);
        const float *last = logits + (size_t)(count - past - 1) * VOCABULARY;
        int likeliest = 0;
        for (int token = 1; token < VOCABULARY; ++token)
            if (last[token] > last[likeliest]) likeliest = token;
        if (likeliest == END) break;
        past = count;
        tokens[count++] = likeliest;
    }
    for (int t = 0; t < count; ++t) fputs(TOKENS[tokens[t]], stdout);
    putchar('\n');
    return 0;
}
