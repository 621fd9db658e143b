/** The message's five fields, which blocks and broadcasts share: as parameters, in replies, and in the API reference. */
import { Type } from "@sinclair/typebox";
import { MediaType, type MessageBody } from "#gen/leadcast/campaign/v1/body_pb.ts";
import { integer, text } from "../params.ts";

const mediaTypes = [MediaType.UNSPECIFIED, MediaType.PHOTO, MediaType.VIDEO] as const;

export const bodyParams = {
  text: text(
    "The message in Telegram's legacy Markdown: at most 4096 characters, 1024 with media, counted as Telegram does; at most 100 entities, and 9,000 bytes of link addresses. Macros such as {click} or {user} are filled in for each lead.",
  ),
  media: text("The ref of an uploaded file; empty for none.", { maxLength: 64 }),
  media_type: integer("What the ref is: 0 none, 1 picture, 2 video.", { minimum: 0, maximum: mediaTypes.length - 1 }),
  button: text("Caption of the button, at most 64 characters. Caption and link come together or not at all.", {
    maxLength: 64,
  }),
  link: text(
    "Where the button leads: http, https or tg, at most 2048 characters, with no macro in its host. A macro may be percent-encoded.",
    {
      maxLength: 2048,
    },
  ),
};

/** 0 to 2 mean the same to REST and to the RPCs. */
export function mediaTypeFromRest(mediaType: number): MediaType {
  return mediaTypes[mediaType] ?? MediaType.UNSPECIFIED;
}

export const bodySchema = {
  text: Type.String({ description: "The message in Telegram's legacy Markdown." }),
  media: Type.String({ description: "The ref of the attached file; empty for none." }),
  media_type: Type.Integer({ minimum: 0, maximum: 2, description: "0 none, 1 picture, 2 video." }),
  button: Type.String({ description: "Caption of the button; empty for none." }),
  link: Type.String({ description: "Where the button leads; may hold macros." }),
};

/** The fields as replies have them, in this order; an absent body is an empty one. */
export function bodyToRest(body: MessageBody | undefined) {
  return {
    text: body?.text ?? "",
    media: body?.media ?? "",
    media_type: body?.mediaType ?? MediaType.UNSPECIFIED,
    button: body?.button ?? "",
    link: body?.link ?? "",
  };
}
