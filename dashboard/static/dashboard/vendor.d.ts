// What the served libraries are called, for the type checker.
declare module "*/uPlot.esm.js" {
  import uPlot from "uplot";
  export default uPlot;
}
