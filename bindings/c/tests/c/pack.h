/* Row batches and parameter blocks from C, by the bytes of docs/format/row-batch.md. */
#ifndef PACK_H
#define PACK_H

#include "check.h"

static inline uint32_t u32_at(const uint8_t *bytes, size_t at)
{
    uint32_t value;
    memcpy(&value, bytes + at, sizeof value);
    return value;
}

static inline int64_t i64_at(const uint8_t *bytes, size_t at)
{
    int64_t value;
    memcpy(&value, bytes + at, sizeof value);
    return value;
}

static inline double f64_at(const uint8_t *bytes, size_t at)
{
    double value;
    memcpy(&value, bytes + at, sizeof value);
    return value;
}

/* The batch that a call answered: `out`, or where that says it is. */
static inline const uint8_t *batch_of(const uint8_t *out)
{
    CHECK(memcmp(out, "TWRB", 4) == 0);
    if (u32_at(out, 4) & ENGINE_BATCH_ELSEWHERE) return (const uint8_t *)(uintptr_t)i64_at(out, 56);
    return out;
}

static inline uint32_t rows_of(const uint8_t *out)
{
    return u32_at(out, 8);
}

static inline uint8_t tag_at(const uint8_t *out, uint32_t row, uint32_t column)
{
    const uint8_t *batch = batch_of(out);
    CHECK(row < rows_of(batch) && column < u32_at(batch, 12));
    return batch[ENGINE_BATCH_HEADER + row * u32_at(batch, 16) + 8 * u32_at(batch, 12) + column];
}

static inline size_t payload_at(const uint8_t *out, uint32_t row, uint32_t column)
{
    const uint8_t *batch = batch_of(out);
    return ENGINE_BATCH_HEADER + row * u32_at(batch, 16) + 8 * column;
}

static inline long long integer_at(const uint8_t *out, uint32_t row, uint32_t column)
{
    const uint8_t *batch = batch_of(out);
    switch (tag_at(out, row, column)) {
    case ENGINE_INTEGER: return i64_at(batch, payload_at(out, row, column));
    case ENGINE_INTEGER_AS_DOUBLE: return (long long)f64_at(batch, payload_at(out, row, column));
    default: FAIL("no integer in row %u, column %u: tag %02x", row, column, tag_at(out, row, column));
    }
}

/* The text of a cell, which a NUL byte ends. */
static inline const char *text_at(const uint8_t *out, uint32_t row, uint32_t column)
{
    const uint8_t *batch = batch_of(out);
    uint8_t tag = tag_at(out, row, column);
    CHECK(tag == ENGINE_TEXT || tag == ENGINE_TEXT_ASCII || tag == ENGINE_BLOB);
    return (const char *)batch + u32_at(batch, 20) + u32_at(batch, payload_at(out, row, column));
}

/* The message of an error batch. */
static inline const char *message_of(const uint8_t *out)
{
    const uint8_t *batch = batch_of(out);
    CHECK(rows_of(batch) == 0 && u32_at(batch, 24) > 0);
    return (const char *)batch + u32_at(batch, 20);
}

typedef struct {
    uint8_t bytes[4096];
    size_t length;
    uint32_t cells, cells_max;
} block;

static inline void block_begin(block *b, uint32_t cells_max)
{
    memset(b, 0, sizeof *b);
    b->cells_max = cells_max;
    b->length = 8 + 16 * cells_max;
    CHECK(b->length <= sizeof b->bytes);
}

static inline void block_cell(block *b, uint8_t tag, uint16_t parameter, uint32_t length, uint64_t payload)
{
    uint8_t *cell = b->bytes + 8 + 16 * b->cells;
    CHECK(b->cells < b->cells_max);
    cell[0] = tag;
    memcpy(cell + 2, &parameter, 2);
    memcpy(cell + 4, &length, 4);
    memcpy(cell + 8, &payload, 8);
    b->cells++;
    memcpy(b->bytes, &b->cells, 4);
}

static inline void block_integer(block *b, int64_t value)
{
    block_cell(b, ENGINE_INTEGER, 0, 0, (uint64_t)value);
}

static inline void block_text(block *b, const char *text)
{
    uint32_t length = (uint32_t)strlen(text);
    CHECK(b->length + length <= sizeof b->bytes);
    memcpy(b->bytes + b->length, text, length);
    block_cell(b, ENGINE_TEXT, 0, length, b->length);
    b->length += length;
}

/* Prepares one statement. */
static inline engine_statement prepare_or_fail(engine_handle h, const char *sql)
{
    engine_statement s = engine_prepare(h, sql, strlen(sql), NULL);
    if (s == 0) FAIL("%s: %s", sql, engine_last_error(h));
    return s;
}

/* The code is `expected`. */
#define CODE(call, expected)                                                                      \
    do {                                                                                          \
        int32_t found_ = (call), expected_ = (expected);                                          \
        if (found_ != expected_) FAIL("%s: expected %d, found %d", #call, expected_, found_);     \
    } while (0)

#endif
