/**
 * Prints `buf/validate/validate.proto` into `.cache/proto`, so that `buf` can resolve the import.
 *
 * No npm package carries that file as text, but `@bufbuild/protovalidate` carries its descriptor. What is printed here
 * is what our own schemas need to compile and lint: messages, fields, oneofs, enums and extensions. Comments and the
 * CEL options on the rules are left out: they describe how the rules are evaluated, and the validator has them itself.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  type FieldDescriptorProto,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import { file_buf_validate_validate } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";

const file = fromBinary(
  FileDescriptorProtoSchema,
  toBinary(FileDescriptorProtoSchema, create(FileDescriptorProtoSchema, file_buf_validate_validate.proto)),
);

function typeOf(field: FieldDescriptorProto): string {
  return field.typeName !== "" ? field.typeName : FieldDescriptorProto_Type[field.type].toLowerCase();
}

function labelOf(field: FieldDescriptorProto): string {
  return field.label === FieldDescriptorProto_Label.REPEATED ? "repeated " : "optional ";
}

function fieldLine(field: FieldDescriptorProto, label: string): string {
  return `${label}${typeOf(field)} ${field.name} = ${field.number};`;
}

function enumLines(e: EnumDescriptorProto): string[] {
  const reserved = e.reservedRange.map((r) => `reserved ${r.start} to ${r.end};`);
  return [`enum ${e.name} {`, ...reserved, ...e.value.map((v) => `${v.name} = ${v.number};`), "}"];
}

function messageLines(message: DescriptorProto): string[] {
  const plain = message.field.filter((field) => !hasOneof(field));
  const oneofs = message.oneofDecl.flatMap((oneof, index) => {
    const members = message.field.filter((field) => hasOneof(field) && field.oneofIndex === index);
    return [`oneof ${oneof.name} {`, ...members.map((field) => fieldLine(field, "")), "}"];
  });
  return [
    `message ${message.name} {`,
    ...message.reservedRange.map((r) => `reserved ${r.start}${r.end - r.start > 1 ? ` to ${r.end - 1}` : ""};`),
    ...message.extensionRange.map((r) => `extensions ${r.start} to ${r.end === 536870912 ? "max" : r.end - 1};`),
    ...message.nestedType.flatMap(messageLines),
    ...message.enumType.flatMap(enumLines),
    ...plain.map((field) => fieldLine(field, labelOf(field))),
    ...oneofs,
    "}",
  ];
}

function hasOneof(field: FieldDescriptorProto): boolean {
  return Object.hasOwn(field, "oneofIndex");
}

function extensionLines(extension: FieldDescriptorProto): string[] {
  return [`extend ${extension.extendee} {`, fieldLine(extension, labelOf(extension)), "}"];
}

const lines = [
  `syntax = "proto2";`,
  `package ${file.package};`,
  ...file.dependency.map((dependency) => `import "${dependency}";`),
  ...file.enumType.flatMap(enumLines),
  ...file.messageType.flatMap(messageLines),
  ...file.extension.flatMap(extensionLines),
];

const target = join(import.meta.dirname, "..", ".cache", "proto", file.name);
mkdirSync(dirname(target), { recursive: true });
writeFileSync(target, `${lines.join("\n")}\n`);
