/**
 * Environment of a delivery process that is to stay below 150 MB at full load, some 280 MB otherwise; read by the runtime
 * before any code runs, so whoever starts the process gives it. JavaScriptCore collects when the heap has grown to one and
 * a half times what was live instead of three times, and Bun's allocator gives free pages back at once. It costs a sixth
 * more processor time a message (bench row memory).
 */
export const deliveryHeap = { BUN_JSC_heapGrowthMaxIncrease: "0.5", MIMALLOC_PURGE_DELAY: "0" } as const;
