import {
  create,
  type DescFile,
  type DescService,
  fromBinary,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectRouter, type ConnectRouterOptions } from "@connectrpc/connect";
import {
  ServerReflection,
  type ServerReflectionRequest,
  ServerReflectionRequestSchema,
  type ServerReflectionResponse,
  ServerReflectionResponseSchema,
} from "#gen/grpc/reflection/v1/reflection_pb.ts";
import {
  type ServerReflectionRequest as AlphaRequest,
  ServerReflectionRequestSchema as AlphaRequestSchema,
  ServerReflectionResponseSchema as AlphaResponseSchema,
  ServerReflection as AlphaServerReflection,
} from "#gen/grpc/reflection/v1alpha/reflection_pb.ts";

type Answer = NonNullable<MessageInitShape<typeof ServerReflectionResponseSchema>["messageResponse"]>;

/** The files that a server's services are made of, indexed for every question that reflection can ask. */
interface FileIndex {
  byName: Map<string, DescFile>;
  bySymbol: Map<string, DescFile>;
  /** For each extended message: extension number → file. */
  byExtension: Map<string, Map<number, DescFile>>;
}

/** Registers grpc.reflection v1 and v1alpha, which answer for the given services. Older tools know only v1alpha. */
export function registerReflection(
  router: ConnectRouter,
  services: readonly DescService[],
  options: Partial<ConnectRouterOptions> = {},
): void {
  const index = indexFiles(services);
  const answer = (request: ServerReflectionRequest): ServerReflectionResponse =>
    create(ServerReflectionResponseSchema, {
      validHost: request.host,
      originalRequest: request,
      messageResponse: answerFrom(index, services, request),
    });
  const current = {
    async *serverReflectionInfo(requests: AsyncIterable<ServerReflectionRequest>) {
      for await (const request of requests) yield answer(request);
    },
  };
  const alpha = {
    async *serverReflectionInfo(requests: AsyncIterable<AlphaRequest>) {
      // The two versions are the same on the wire; only their package differs.
      for await (const request of requests) {
        const same = fromBinary(ServerReflectionRequestSchema, toBinary(AlphaRequestSchema, request));
        yield fromBinary(AlphaResponseSchema, toBinary(ServerReflectionResponseSchema, answer(same)));
      }
    },
  };
  router.service(ServerReflection, current, options);
  router.service(AlphaServerReflection, alpha, options);
}

function answerFrom(index: FileIndex, services: readonly DescService[], request: ServerReflectionRequest): Answer {
  const { messageRequest: question } = request;
  switch (question.case) {
    case "listServices":
      return { case: "listServicesResponse", value: { service: services.map(({ typeName }) => ({ name: typeName })) } };
    case "fileByFilename":
      return fileAnswer(index.byName.get(question.value), question.value);
    case "fileContainingSymbol":
      return fileAnswer(index.bySymbol.get(question.value), question.value);
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = question.value;
      const file = index.byExtension.get(containingType)?.get(extensionNumber);
      return fileAnswer(file, `${containingType} extension ${extensionNumber}`);
    }
    case "allExtensionNumbersOfType": {
      const numbers = [...(index.byExtension.get(question.value)?.keys() ?? [])];
      const value = { baseTypeName: question.value, extensionNumber: numbers };
      return index.bySymbol.has(question.value)
        ? { case: "allExtensionNumbersResponse", value }
        : notFound(question.value);
    }
    default:
      return {
        case: "errorResponse",
        value: { errorCode: Code.InvalidArgument, errorMessage: "The request asks nothing." },
      };
  }
}

function notFound(what: string): Answer {
  return { case: "errorResponse", value: { errorCode: Code.NotFound, errorMessage: `${what} is not known here.` } };
}

/** A file comes with everything that it imports, so that a client needs one round trip for a service. */
function fileAnswer(file: DescFile | undefined, what: string): Answer {
  if (file === undefined) return notFound(what);
  const files = [...withDependencies(file, new Map()).values()];
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto: files.map(bytesOf) } };
}

const written = new WeakMap<DescFile, Uint8Array<ArrayBuffer>>();

/** Written once: a question without a token must not cost the writing of every schema. */
function bytesOf(file: DescFile): Uint8Array<ArrayBuffer> {
  const bytes = written.get(file) ?? toBinary(FileDescriptorProtoSchema, create(FileDescriptorProtoSchema, file.proto));
  written.set(file, bytes);
  return bytes;
}

function withDependencies(file: DescFile, found: Map<string, DescFile>): Map<string, DescFile> {
  if (found.has(file.proto.name)) return found;
  found.set(file.proto.name, file);
  for (const dependency of file.dependencies) withDependencies(dependency, found);
  return found;
}

function indexFiles(services: readonly DescService[]): FileIndex {
  const byName = new Map<string, DescFile>();
  for (const service of services) withDependencies(service.file, byName);
  const index: FileIndex = { byName, bySymbol: new Map(), byExtension: new Map() };
  for (const file of byName.values()) indexFile(index, file);
  return index;
}

function indexFile({ bySymbol, byExtension }: FileIndex, file: DescFile): void {
  for (const type of nestedTypes(file)) {
    bySymbol.set(type.typeName, file);
    if (type.kind === "service")
      for (const method of type.methods) bySymbol.set(`${type.typeName}.${method.name}`, file);
    if (type.kind === "message") for (const field of type.fields) bySymbol.set(`${type.typeName}.${field.name}`, file);
    if (type.kind === "extension") {
      const numbers = byExtension.get(type.extendee.typeName) ?? new Map<number, DescFile>();
      byExtension.set(type.extendee.typeName, numbers.set(type.number, file));
    }
  }
}
