import { expect } from "bun:test";
import type { Api, Fields } from "../api.ts";
import type { Row, Section } from "../row.ts";

/** Fields of a message that are taken, or refused with a message that says which one is at fault. */
interface Limit {
  says: string;
  taken: Fields[];
  refused: Fields[];
  /** What the refusal has to mention. */
  naming: RegExp;
}

const button = { button: "Go" };
const path = (length: number) => `https://example.com/${"p".repeat(length - 20)}`;

const bodyLimits: Limit[] = [
  {
    says: "a text has at most 4096 characters, counted after Markdown is parsed, in UTF-16 units",
    taken: [
      { text: "x".repeat(4096) },
      { text: `*${"x".repeat(4096)}*` },
      { text: "😀".repeat(2048) },
      { text: `[${"x".repeat(4096)}](https://example.com/)` },
    ],
    refused: [{ text: "x".repeat(4097) }, { text: `${"😀".repeat(2048)}x` }],
    naming: /text/i,
  },
  {
    says: "legacy Markdown must parse",
    taken: [{ text: "*b* _i_ `c` [l](https://example.com/) \\*" }, { text: "```\ncode\n```" }],
    refused: [{ text: "*b" }, { text: "_i" }, { text: "`c" }, { text: "a [l](https://example.com/ b" }],
    naming: /text/i,
  },
  {
    says: "a text has at most 100 entities",
    taken: [{ text: "*b* ".repeat(100) }],
    refused: [{ text: "*b* ".repeat(101) }, { text: "[l](https://example.com/) ".repeat(120) }],
    naming: /1[02][01] entities.*100/,
  },
  {
    says: "the addresses of a text's links have at most 9,000 bytes together",
    taken: [{ text: `[l](${path(1_800)}) `.repeat(5) }],
    refused: [{ text: `[l](${path(1_801)}) `.repeat(5) }, { text: `[l](${path(1_500)}) `.repeat(8) }],
    naming: /addresses.*(9005|12000) bytes.*9000/,
  },
  {
    says: "a link in the text is told when Telegram would drop its address",
    taken: [{ text: "[l](example.com)" }, { text: "[l](tg://user?id=1)" }],
    refused: [{ text: "[l](https://localhost/)" }, { text: "[l](https://{click}.com/)" }, { text: "[l](ftp://a.bc/)" }],
    naming: /The link "l" in the text/,
  },
  {
    says: "caption and link come together",
    taken: [{ text: "T", ...button, link: "https://example.com" }],
    refused: [
      { text: "T", ...button },
      { text: "T", link: "https://example.com" },
    ],
    naming: /button|link|caption/i,
  },
  {
    says: "a caption has at most 64 characters",
    taken: [{ text: "T", button: "b".repeat(64), link: "https://example.com" }],
    refused: [{ text: "T", button: "b".repeat(65), link: "https://example.com" }],
    naming: /button|caption/i,
  },
  {
    says: "a link has at most 2048 characters",
    taken: [{ text: "T", ...button, link: path(2048) }],
    refused: [{ text: "T", ...button, link: path(2049) }],
    naming: /link/i,
  },
  {
    says: "a link is http, https or tg, and its host has a dot and no macro",
    taken: ["http://example.com", "https://a.example.com:8080/x?y={click}#z", "tg://resolve?domain=example"].map(
      (link) => ({ text: "T", ...button, link }),
    ),
    refused: [
      "ftp://example.com",
      "javascript:alert(1)",
      "example.com",
      "https://localhost/",
      "https://{click}.com/",
      "https://example.{campaign}/",
      "https://%7Bclick%7D.com/",
      "https://example.com:99999/",
      "https://a b.com/",
      "https://",
    ].map((link) => ({ text: "T", ...button, link })),
    naming: /link|macro/i,
  },
  {
    says: "a media type comes with a ref, and a ref with its type",
    taken: [{ text: "T", media: "", media_type: 0 }],
    refused: [
      { text: "T", media: "", media_type: 1 },
      { text: "T", media: "x", media_type: 0 },
      { text: "T", media: "unknown", media_type: 1 },
      { text: "T", media: "x", media_type: 3 },
    ],
    naming: /media/i,
  },
];

const editLimits: Limit[] = [
  {
    says: "a name has at most 255 characters",
    taken: [{ name: "n".repeat(255) }, { name: "ж".repeat(255) }],
    refused: [{ name: "n".repeat(256) }],
    naming: /name/i,
  },
  {
    says: "statuses are a bitmask from 0 to 31",
    taken: [{ statuses: 0 }, { statuses: 31 }],
    refused: [{ statuses: 32 }],
    naming: /status/i,
  },
  {
    says: "from is not later than to, where both are set",
    taken: [
      { created_from: 5, created_to: 5, status_from: 5, status_to: 6 },
      { created_from: 9, created_to: 0 },
      { status_from: 0, status_to: 3 },
    ],
    refused: [
      { created_from: 6, created_to: 5 },
      { status_from: 6, status_to: 5 },
    ],
    naming: /(created|status)_from/i,
  },
];

const blockLimits: Limit[] = [
  {
    says: "a delay is 0 to 31,536,000 seconds",
    taken: [{ delay: 0 }, { delay: 31_536_000 }],
    refused: [{ delay: 31_536_001 }, { delay: -1 }],
    naming: /delay/i,
  },
];

type Save = (api: Api, fields: Fields, ids: { campaign: number; broadcast: number }) => ReturnType<Api["try"]>;

const saveBlock: Save = (api, fields, { campaign }) =>
  api.try("POST camp/broadcast", { id: campaign, status: 0, ...fields });
const editBroadcast: Save = (api, fields, { broadcast }) =>
  api.try("POST broadcast/edit", { id: broadcast, ...fields });

function rowsOf(limits: Limit[], where: string, save: Save): Row[] {
  return limits.map(({ says, taken, refused, naming }) => ({
    says: `${where}: ${says}`,
    when: async ({ api, customer }) => {
      const ids = { campaign: customer.campaignId, broadcast: await api.draft() };
      for (const fields of refused) {
        const expected = { code: "func", message: expect.stringMatching(naming) };
        expect([fields, await save(api, fields, ids)]).toEqual([fields, expected]);
      }
      for (const fields of taken) expect([fields, await save(api, fields, ids)]).toEqual([fields, { data: undefined }]);
    },
  }));
}

export const limitSections: Section[] = [
  {
    from: "contract 3, limits at save",
    rows: [
      ...rowsOf(bodyLimits, "block", saveBlock),
      ...rowsOf(blockLimits, "block", saveBlock),
      ...rowsOf(bodyLimits, "broadcast", editBroadcast),
      ...rowsOf(editLimits, "broadcast", editBroadcast),
      {
        says: "a text beside media has at most 1024 characters",
        when: async ({ api, customer }) => {
          const { png } = await import("#test/core/media/files.ts");
          const { media } = await api.ok("POST media/upload", { file: png({ seed: 5 }) });
          const with1 = { media: String(media), media_type: 1 };
          const id = await api.draft();
          for (const [length, code] of [
            [1024, "ok"],
            [1025, "func"],
          ] as const) {
            const fields = { ...with1, text: "x".repeat(length) };
            expect(await api.code("POST broadcast/edit", { id, ...fields })).toBe(code);
            expect(await api.code("POST camp/broadcast", { id: customer.campaignId, status: 0, ...fields })).toBe(code);
          }
        },
      },
      {
        says: "at most 1,000 campaigns can be named",
        when: async ({ api, customer }) => {
          const id = await api.draft();
          const many = (n: number) => Array.from({ length: n }, () => customer.campaignId).join();
          expect(await api.code("POST broadcast/edit", { id, text: "T", campaigns: many(1000) })).toBe("ok");
          expect(await api.code("POST broadcast/edit", { id, text: "T", campaigns: many(1001) })).toBe("func");
        },
      },
      {
        says: "a new draft's name has at most 255 characters",
        when: async ({ api }) => {
          expect(await api.code("POST broadcast/add", { name: "n".repeat(255) })).toBe("ok");
          expect(await api.code("POST broadcast/add", { name: "n".repeat(256) })).toBe("func");
        },
      },
    ],
  },
];
