import { describe, expect, test } from "bun:test";
import { MediaType } from "#gen/leadcast/campaign/v1/body_pb.ts";
import { ErrorReason } from "#gen/leadcast/errors/v1/error_info_pb.ts";
import { DomainError } from "#services/platform/domain-error.ts";
import { accountId, setup } from "../gateway-world.ts";

const bytes = new Uint8Array([0xff, 0xd8, 0xff, 0x00, 0x0d, 0x0a, 0x2d, 0x2d]);

function formWith(content: Uint8Array<ArrayBuffer>): FormData {
  const form = new FormData();
  form.append("file", new File([content], "a.jpg", { type: "image/jpeg" }));
  return form;
}

describe("media/upload.json", () => {
  test("hands over the file's bytes and gives the ref", async () => {
    const world = setup({ UploadMedia: { media: "m1", mediaType: MediaType.PHOTO } });
    const response = await world.post("/api/media/upload.json", formWith(bytes));
    expect(await response.text()).toBe('{"status":"ok","data":{"media":"m1","media_type":1}}');
    expect(world.calls[0]).toMatchObject({ rpc: "UploadMedia", request: { accountId, content: bytes } });
  });

  test("passes on what the account should know of the file", async () => {
    const world = setup({ UploadMedia: { media: "m1", mediaType: MediaType.PHOTO, note: "It will not move." } });
    const reply = await (await world.post("/api/media/upload.json", formWith(bytes))).json();
    expect(reply).toEqual({ status: "ok", data: { media: "m1", media_type: 1, note: "It will not move." } });
  });

  test("takes a body larger than a form may be", async () => {
    const world = setup({ UploadMedia: { media: "m2", mediaType: MediaType.VIDEO } });
    const reply = await (await world.post("/api/media/upload.json", formWith(new Uint8Array(3_000_000)))).json();
    expect(reply).toEqual({ status: "ok", data: { media: "m2", media_type: 2 } });
  });

  test("says what the service finds wrong with the file, by the parameter's name", async () => {
    const refusal = new DomainError(ErrorReason.INVALID_ARGUMENT, "content: this is no picture.", { field: "content" });
    const world = setup({ UploadMedia: refusal });
    const reply = await (await world.post("/api/media/upload.json", formWith(bytes))).json();
    expect(reply).toEqual({ status: "error", error: "func", message: "file: this is no picture." });
  });

  test("refuses a file that is no part of a multipart body", async () => {
    const world = setup();
    const reply = await (await world.post("/api/media/upload.json", { file: "not a file" })).json();
    expect(reply).toMatchObject({ status: "error", error: "func" });
    expect(world.calls).toEqual([]);
  });

  test("refuses an empty file, as the RPC does", async () => {
    const reply = await (await setup().post("/api/media/upload.json", formWith(new Uint8Array()))).json();
    expect(reply).toMatchObject({ status: "error", error: "func" });
  });
});
