package tables

import "hash/crc32"

// Castagnoli is the polynomial of CRC-32C, which processors compute.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ChunkShift parts a chunk's id into its body's id and its number.
const ChunkShift = 16
