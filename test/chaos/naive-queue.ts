/** What the naive worker and those who feed it have in common. */
export const NAIVE_STREAM = "NAIVE";
export const NAIVE_CONSUMER = "naive";
export const NAIVE_SUBJECT = "naive.send";
export const naiveBody = "@1 for everybody";
