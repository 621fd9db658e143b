/**
 * Environment of a delivery process that is to stay below 150 MB with 20 bots at full load, some 270 MB otherwise; read by
 * the runtime before any code runs, so whoever starts the process gives it. JavaScriptCore collects when the heap has grown
 * to 1.7 times what was live instead of three times, and Bun's allocator gives free pages back at once. It costs a fifth
 * more processor time a message (docs/performance.md, row memory).
 */
export const deliveryHeap = { BUN_JSC_heapGrowthMaxIncrease: "0.7", MIMALLOC_PURGE_DELAY: "0" } as const;
