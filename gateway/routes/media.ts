import { Type } from "@sinclair/typebox";
import { MediaType } from "#gen/leadcast/campaign/v1/body_pb.ts";
import { defineEndpoint, type Endpoint } from "../endpoint.ts";
import { file } from "../params.ts";

const upload = defineEndpoint({
  method: "POST",
  path: "/api/media/upload.json",
  tag: "Media",
  summary: "Keep a picture or a video for messages",
  description:
    "Takes a JPEG, PNG or WebP picture up to 10 MB, or an MP4 video up to 50 MB. The ref that comes back goes into `media`, and the type into `media_type`. The same file gives the same ref again. Telegram shows of an animated PNG or WebP the first frame only: `note` says so then.",
  isUpload: true,
  params: { file: file("The file, as a part of a multipart body.") },
  data: Type.Object({
    media: Type.String({ description: "The ref of the file." }),
    media_type: Type.Integer({ enum: [MediaType.PHOTO, MediaType.VIDEO], description: "1 picture, 2 video." }),
    note: Type.Optional(
      Type.String({ description: "How the file will be shown, where that may be unexpected; otherwise left out." }),
    ),
  }),
  refusals: {
    func: "The file is missing, too large, or neither of the kinds that are taken.",
    limit: "The account's storage is full, or too many uploads run at once.",
  },
  run: async ({ accountId, clients, options }, values) => {
    const content = new Uint8Array(await values.file.arrayBuffer());
    const { media, mediaType, note } = await clients.campaign.uploadMedia({ accountId, content }, options);
    return { media, media_type: mediaType, ...(note === "" ? {} : { note }) };
  },
});

export const mediaEndpoints: readonly Endpoint[] = [upload];
