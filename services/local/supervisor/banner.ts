import { relative } from "node:path";
import { type PortName, type ServiceName, serviceNames } from "./settings.ts";

export interface BannerOptions {
  folder: string;
  urls: Record<PortName, string>;
  metricsPorts: Record<ServiceName, number>;
  withSandbox: boolean;
  /** Of the demo account; undefined where there is none. */
  session: string | undefined;
  seconds: number;
}

/** What is printed when everything is ready. */
export function banner({ folder, urls, metricsPorts, withSandbox, session, seconds }: BannerOptions): string {
  const at = (name: PortName) => urls[name];
  const shown = relative(process.cwd(), folder);
  const data = shown.startsWith("..") || shown === "" ? folder : shown;
  const services = (["account", "campaign", "broadcast", "delivery"] as const).map((name) => row(name, at(name)));
  return [
    "",
    `Leadcast is ready after ${seconds.toFixed(1)} s: ${at("gateway")}`,
    "",
    row("gateway", `${at("gateway")}/api/*.json  (described at ${at("gateway")}/docs)`),
    ...services,
    ...(withSandbox
      ? [row("sandbox", `${at("sandbox")}  (stands in for the Bot API; open it to see what was sent)`)]
      : []),
    row("metrics", `:PORT/metrics  ${serviceNames.map((name) => `${name} ${metricsPorts[name]}`).join(", ")}`),
    row("logs", `${data}/logs`),
    ...(session === undefined ? [] : tryIt(at("gateway"), session, data)),
    "",
    "Ctrl-C stops everything.",
  ].join("\n");
}

function row(name: string, value: string): string {
  return `  ${name.padEnd(10)} ${value}`;
}

function tryIt(gateway: string, session: string, data: string): string[] {
  return [
    "",
    `Session token of the demo account (also in ${data}/session):`,
    "",
    `  ${session}`,
    "",
    "Create, start and watch a broadcast to its 5,000 leads (or let `npm run demo` do it):",
    "",
    ...tryItLines(gateway, session),
  ];
}

/**
 * Three lines for a POSIX shell: create, start, watch. The second and third use what the first has put into variables, so
 * that each is short enough to be read.
 */
export function tryItLines(gateway: string, session: string): string[] {
  const variables = `U=${gateway}/api/broadcast A='Authorization: Bearer ${session}'`;
  const text = "Hello {user}, *20% off* until Sunday";
  const create = `ID=$(curl -s -H "$A" -d name=Hello $U/add.json | tr -cd 0-9)`;
  const edit = `curl -s -w '\\n' -H "$A" -d id=$ID -d statuses=31 --data-urlencode 'text=${text}' $U/edit.json`;
  return [
    `${variables}; ${create}; ${edit}`,
    `curl -s -w '\\n' -H "$A" -d id=$ID $U/start.json`,
    `while R=$(curl -s -H "$A" "$U/get.json?id=$ID") && echo "$R" && echo "$R" | grep -q '"status":[14],'; do sleep 1; done`,
  ];
}
