/** What the endpoints of broadcasts share: their one parameter, and how the API reference puts their fields. */
import { Type } from "@sinclair/typebox";
import { id } from "../params.ts";
import { allStatuses } from "../rest-values.ts";

export const tag = "Broadcasts";
export const broadcastId = id("The broadcast.");
export const access = "There is no such broadcast in your account.";
const statusText = "0 draft, 1 running, 2 done, 3 cancelled, 4 paused.";
export const bitmaskText = "lead statuses as a bitmask: bit 0 wait, 1 hold, 2 approve, 3 cancel, 4 trash.";

export const listFields = {
  id: Type.Integer({ description: "The broadcast." }),
  name: Type.String({ description: "Its name." }),
  status: Type.Integer({ minimum: 0, maximum: 4, description: statusText }),
  statuses: Type.Integer({ minimum: 0, maximum: allStatuses, description: `The audience's ${bitmaskText}` }),
  campaigns: Type.Array(Type.Integer(), { description: "The audience's campaigns; none means all." }),
};
export const totalField = { total: Type.Integer({ description: "How many leads the audience has." }) };
export const counterFields = {
  sent: Type.Integer({ description: "Leads that have got the message." }),
  queued: Type.Integer({ description: "Leads whose message waits or is on its way." }),
  failed: Type.Integer({ description: "Leads whose message was refused, or of which nobody can say." }),
};
export const timeFields = {
  started: Type.Integer({ description: "The last Start in unix seconds; 0 if there was none." }),
  created: Type.Integer({ description: "When it was created, in unix seconds." }),
};
