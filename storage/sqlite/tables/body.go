package tables

import "hash/crc32"

// Castagnoli is the table of CRC-32C, which processors compute in hardware.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ChunkShift is how many low bits of a chunk's id hold its number. The bits above them hold
// its body's id.
const ChunkShift = 16
