// Python's half is test_page_referee.py: what the page's referee says of each plan, in one fixed view.
import { given, load } from "./served.mjs";

const { check } = await load("engine/check.js");
const { plainPlan } = await load("engine/plan.js");
const { RequestView, View } = await load("engine/view.js");

const { view, plans } = given();
const requests = (all) => all.map((fields) => new RequestView(fields));
const seen = new View({ ...view, waiting: requests(view.waiting), running: requests(view.running), finished: requests(view.finished) });
const verdicts = plans.map((plan) => {
  try {
    check(plainPlan(plan, seen.clock), seen);
    return null;
  } catch (error) {
    return error.message;
  }
});
process.stdout.write(JSON.stringify({ verdicts, fitting: seen.fitting(), misfit: [...seen.misfit(seen.fitting())], closed: [...seen.closed("why", [0])] }));
