// Sends the traces of Waylog to a collector by OTLP over HTTP: node --import ./tracing.mjs ... (docs/how-to/trace.md)
import { TraceFlags } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  NodeTracerProvider,
  ParentBasedSampler,
  SamplingDecision,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-node';

/** The share of the traces that begin here and are kept, 0 to 1. */
const share = Number(process.env.OTEL_TRACES_SAMPLER_ARG ?? 1);

/** What follows from a trace that is kept is kept: it is linked to it, and would else be drawn by lot again. */
class KeepWhatFollows extends TraceIdRatioBasedSampler {
  shouldSample(...asked) {
    const links = asked[5] ?? [];
    const isKept = links.some((link) => (link.context.traceFlags & TraceFlags.SAMPLED) !== 0);
    return isKept ? { decision: SamplingDecision.RECORD_AND_SAMPLED } : super.shouldSample(...asked);
  }
}

const provider = new NodeTracerProvider({
  sampler: new ParentBasedSampler({ root: new KeepWhatFollows(share) }),
  // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go first.
  resource: defaultResource()
    .merge(resourceFromAttributes({ 'service.name': 'waylog' }))
    .merge(detectResources({ detectors: [envDetector] })),
  // OTEL_EXPORTER_OTLP_ENDPOINT says where to; by default http://localhost:4318.
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
});
// The server has what is not sent yet sent when it stops.
provider.register();
