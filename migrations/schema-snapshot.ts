import type { Snapshot } from './snapshot.js';

// Made by `npm run snapshot`; a test fails when it is not what the migrations make.
/* prettier-ignore */
export const snapshot: Snapshot = {
  "1790000001000": {
    "makes": {
      "column log.events.data": "json not null",
      "column log.events.id": "uuid not null",
      "column log.events.metadata": "json not null",
      "column log.events.position": "bigint not null",
      "column log.events.recorded_at": "timestamp with time zone not null",
      "column log.events.revision": "integer not null",
      "column log.events.schema_version": "integer not null",
      "column log.events.stream_key": "bigint not null",
      "column log.events.type": "text not null",
      "column log.snapshots.revision": "integer not null",
      "column log.snapshots.state": "text not null",
      "column log.snapshots.stream_id": "text not null",
      "column log.snapshots.taken_at": "timestamp with time zone not null default clock_timestamp()",
      "column log.snapshots.version": "integer not null",
      "column log.streams.stream_id": "text not null",
      "column log.streams.stream_key": "bigint not null generated always as identity",
      "constraint log.events.events_revision_check": "CHECK ((revision >= 0))",
      "constraint log.events.events_schema_version_check": "CHECK ((schema_version > 0))",
      "constraint log.events.events_stream_key_revision_key": "UNIQUE (stream_key, revision)",
      "constraint log.streams.streams_stream_id_key": "UNIQUE (stream_id)",
      "function log.append(p_streams text, p_expected integer[], p_requests integer[], p_ordinals integer[], p_ids uuid[], p_types text, p_versions integer[], p_data text, p_metadata text)": "returns TABLE(request integer, key bigint, accepted boolean, repeated boolean, first_revision integer, first_position bigint, current_revision integer) language plpgsql volatile, source ec99984799b17e8c889fa265d27a6794f43e481579a310ed3066af73940c7d78",
      "function log.append_expected(p_keys bigint[], p_expected integer[], p_event_keys bigint[], p_revisions integer[], p_ids uuid[], p_types text, p_versions integer[], p_data text, p_metadata text)": "returns bigint language plpgsql volatile, source 072f14082d11d1aeeea2a68dfc6a0481c2c739d92e2444935607325a9e0fec94",
      "primary key log.events": "PRIMARY KEY (\"position\")",
      "primary key log.snapshots": "PRIMARY KEY (stream_id, version)",
      "primary key log.streams": "PRIMARY KEY (stream_key)",
      "schema log": "",
      "table log.events": "",
      "table log.snapshots": "",
      "table log.streams": ""
    }
  },
  "1790000002000": {
    "makes": {
      "column projection.checkpoints.position": "text not null",
      "column projection.checkpoints.projection": "text not null",
      "column projection.checkpoints.updated_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.checkpoints.version": "integer not null",
      "column projection.stream_revisions.projector": "text not null",
      "column projection.stream_revisions.revision": "integer not null",
      "column projection.stream_revisions.stream_id": "text not null",
      "primary key projection.checkpoints": "PRIMARY KEY (projection)",
      "primary key projection.stream_revisions": "PRIMARY KEY (projector, stream_id)",
      "schema projection": "",
      "table projection.checkpoints": "fillfactor=50",
      "table projection.stream_revisions": "fillfactor=70"
    }
  },
  "1790000003000": {
    "makes": {
      "column flight.chunks.anchor_frame_id": "integer",
      "column flight.chunks.anchor_lat": "double precision",
      "column flight.chunks.anchor_lon": "double precision",
      "column flight.chunks.chunk_id": "text collate \"C\" not null",
      "column flight.chunks.created_at": "timestamp with time zone not null",
      "column flight.chunks.end_frame_id": "integer",
      "column flight.chunks.flight_id": "text collate \"C\" not null",
      "column flight.chunks.frames": "jsonb not null",
      "column flight.chunks.has_anchor": "boolean not null",
      "column flight.chunks.is_active": "boolean not null",
      "column flight.chunks.matching_status": "text not null",
      "column flight.chunks.start_frame_id": "integer not null",
      "column flight.chunks.updated_at": "timestamp with time zone not null",
      "column flight.flight_images.file_path": "text not null",
      "column flight.flight_images.flight_id": "text collate \"C\" not null",
      "column flight.flight_images.frame_id": "integer not null",
      "column flight.flight_images.metadata": "jsonb not null",
      "column flight.flight_images.uploaded_at": "timestamp with time zone not null",
      "column flight.flight_state.blocked": "boolean not null",
      "column flight.flight_state.created_at": "timestamp with time zone not null",
      "column flight.flight_state.current_frame": "integer",
      "column flight.flight_state.flight_id": "text collate \"C\" not null",
      "column flight.flight_state.frames_processed": "integer not null",
      "column flight.flight_state.frames_total": "integer not null",
      "column flight.flight_state.search_grid_size": "integer",
      "column flight.flight_state.status": "text not null",
      "column flight.flight_state.updated_at": "timestamp with time zone not null",
      "column flight.flights.altitude": "double precision not null",
      "column flight.flights.camera_params": "jsonb not null",
      "column flight.flights.created_at": "timestamp with time zone not null",
      "column flight.flights.description": "text not null",
      "column flight.flights.id": "text collate \"C\" not null",
      "column flight.flights.name": "text not null",
      "column flight.flights.start_lat": "double precision not null",
      "column flight.flights.start_lon": "double precision not null",
      "column flight.flights.updated_at": "timestamp with time zone not null",
      "column flight.frame_results.altitude": "double precision not null",
      "column flight.frame_results.confidence": "double precision not null",
      "column flight.frame_results.flight_id": "text collate \"C\" not null",
      "column flight.frame_results.frame_id": "integer not null",
      "column flight.frame_results.gps_lat": "double precision not null",
      "column flight.frame_results.gps_lon": "double precision not null",
      "column flight.frame_results.heading": "double precision not null",
      "column flight.frame_results.refined": "boolean not null",
      "column flight.frame_results.timestamp": "timestamp with time zone not null",
      "column flight.frame_results.updated_at": "timestamp with time zone not null",
      "column flight.geofences.flight_id": "text collate \"C\" not null",
      "column flight.geofences.id": "text collate \"C\" not null",
      "column flight.geofences.nw_lat": "double precision not null",
      "column flight.geofences.nw_lon": "double precision not null",
      "column flight.geofences.se_lat": "double precision not null",
      "column flight.geofences.se_lon": "double precision not null",
      "column flight.heading_history.flight_id": "text collate \"C\" not null",
      "column flight.heading_history.frame_id": "integer not null",
      "column flight.heading_history.heading": "double precision not null",
      "column flight.heading_history.timestamp": "timestamp with time zone not null",
      "column flight.waypoints.altitude": "double precision",
      "column flight.waypoints.confidence": "double precision not null",
      "column flight.waypoints.flight_id": "text collate \"C\" not null",
      "column flight.waypoints.id": "text collate \"C\" not null",
      "column flight.waypoints.lat": "double precision not null",
      "column flight.waypoints.lon": "double precision not null",
      "column flight.waypoints.refined": "boolean not null",
      "column flight.waypoints.timestamp": "timestamp with time zone not null",
      "constraint flight.chunks.chunks_anchor_frame_id_check": "CHECK ((anchor_frame_id >= 0))",
      "constraint flight.chunks.chunks_anchor_lat_check": "CHECK (((anchor_lat >= ('-90'::integer)::double precision) AND (anchor_lat <= (90)::double precision)))",
      "constraint flight.chunks.chunks_anchor_lon_check": "CHECK (((anchor_lon >= ('-180'::integer)::double precision) AND (anchor_lon <= (180)::double precision)))",
      "constraint flight.chunks.chunks_end_frame_id_check": "CHECK ((end_frame_id >= 0))",
      "constraint flight.chunks.chunks_start_frame_id_check": "CHECK ((start_frame_id >= 0))",
      "constraint flight.flight_images.flight_images_frame_id_check": "CHECK ((frame_id >= 0))",
      "constraint flight.flight_state.flight_state_current_frame_check": "CHECK ((current_frame >= 0))",
      "constraint flight.flight_state.flight_state_frames_processed_check": "CHECK ((frames_processed >= 0))",
      "constraint flight.flight_state.flight_state_frames_total_check": "CHECK ((frames_total >= 0))",
      "constraint flight.flight_state.flight_state_search_grid_size_check": "CHECK ((search_grid_size >= 0))",
      "constraint flight.flights.flights_start_lat_check": "CHECK (((start_lat >= ('-90'::integer)::double precision) AND (start_lat <= (90)::double precision)))",
      "constraint flight.flights.flights_start_lon_check": "CHECK (((start_lon >= ('-180'::integer)::double precision) AND (start_lon <= (180)::double precision)))",
      "constraint flight.frame_results.frame_results_confidence_check": "CHECK (((confidence >= (0)::double precision) AND (confidence <= (1)::double precision)))",
      "constraint flight.frame_results.frame_results_frame_id_check": "CHECK ((frame_id >= 0))",
      "constraint flight.frame_results.frame_results_gps_lat_check": "CHECK (((gps_lat >= ('-90'::integer)::double precision) AND (gps_lat <= (90)::double precision)))",
      "constraint flight.frame_results.frame_results_gps_lon_check": "CHECK (((gps_lon >= ('-180'::integer)::double precision) AND (gps_lon <= (180)::double precision)))",
      "constraint flight.frame_results.frame_results_heading_check": "CHECK (((heading >= (0)::double precision) AND (heading < (360)::double precision)))",
      "constraint flight.geofences.geofences_nw_lat_check": "CHECK (((nw_lat >= ('-90'::integer)::double precision) AND (nw_lat <= (90)::double precision)))",
      "constraint flight.geofences.geofences_nw_lon_check": "CHECK (((nw_lon >= ('-180'::integer)::double precision) AND (nw_lon <= (180)::double precision)))",
      "constraint flight.geofences.geofences_se_lat_check": "CHECK (((se_lat >= ('-90'::integer)::double precision) AND (se_lat <= (90)::double precision)))",
      "constraint flight.geofences.geofences_se_lon_check": "CHECK (((se_lon >= ('-180'::integer)::double precision) AND (se_lon <= (180)::double precision)))",
      "constraint flight.heading_history.heading_history_frame_id_check": "CHECK ((frame_id >= 0))",
      "constraint flight.heading_history.heading_history_heading_check": "CHECK (((heading >= (0)::double precision) AND (heading < (360)::double precision)))",
      "constraint flight.waypoints.waypoints_confidence_check": "CHECK (((confidence >= (0)::double precision) AND (confidence <= (1)::double precision)))",
      "constraint flight.waypoints.waypoints_lat_check": "CHECK (((lat >= ('-90'::integer)::double precision) AND (lat <= (90)::double precision)))",
      "constraint flight.waypoints.waypoints_lon_check": "CHECK (((lon >= ('-180'::integer)::double precision) AND (lon <= (180)::double precision)))",
      "hypertable flight.frame_results": "by timestamp",
      "hypertable flight.heading_history": "by timestamp",
      "index flight.flight_state.flight_state_history": "CREATE INDEX flight_state_history ON flight.flight_state USING btree (status, updated_at)",
      "index flight.flights.flights_created_at": "CREATE INDEX flights_created_at ON flight.flights USING btree (created_at, id)",
      "index flight.flights.flights_name": "CREATE INDEX flights_name ON flight.flights USING btree (name text_pattern_ops)",
      "index flight.heading_history.heading_history_in_time": "CREATE INDEX heading_history_in_time ON flight.heading_history USING btree (flight_id, \"timestamp\" DESC, frame_id DESC)",
      "index flight.waypoints.waypoints_in_time": "CREATE INDEX waypoints_in_time ON flight.waypoints USING btree (flight_id, \"timestamp\", id)",
      "primary key flight.chunks": "PRIMARY KEY (flight_id, chunk_id)",
      "primary key flight.flight_images": "PRIMARY KEY (flight_id, frame_id)",
      "primary key flight.flight_state": "PRIMARY KEY (flight_id)",
      "primary key flight.flights": "PRIMARY KEY (id)",
      "primary key flight.frame_results": "PRIMARY KEY (flight_id, frame_id, \"timestamp\")",
      "primary key flight.geofences": "PRIMARY KEY (flight_id, id)",
      "primary key flight.heading_history": "PRIMARY KEY (flight_id, frame_id, \"timestamp\")",
      "primary key flight.waypoints": "PRIMARY KEY (flight_id, id)",
      "schema flight": "",
      "table flight.chunks": "",
      "table flight.flight_images": "",
      "table flight.flight_state": "fillfactor=50",
      "table flight.flights": "",
      "table flight.frame_results": "",
      "table flight.geofences": "",
      "table flight.heading_history": "",
      "table flight.waypoints": "fillfactor=80"
    }
  },
  "1790000004000": {
    "makes": {
      "column flight.flight_days.day": "timestamp with time zone not null",
      "column flight.flight_days.flight_id": "text collate \"C\" not null",
      "primary key flight.flight_days": "PRIMARY KEY (flight_id, day)",
      "table flight.flight_days": ""
    }
  },
  "1790000005000": {
    "makes": {
      "column projection.checkpoints.pause_reason": "text",
      "column projection.checkpoints.paused_at": "timestamp with time zone",
      "column projection.checkpoints.paused_by": "text",
      "column projection.discarded_events.discarded_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.discarded_events.discarded_by": "text not null",
      "column projection.discarded_events.error": "text not null",
      "column projection.discarded_events.event_id": "uuid not null",
      "column projection.discarded_events.position": "text not null",
      "column projection.discarded_events.projector": "text not null",
      "column projection.discarded_events.reason": "text not null",
      "column projection.discarded_events.revision": "integer not null",
      "column projection.discarded_events.stream_id": "text not null",
      "column projection.discarded_events.type": "text not null",
      "column projection.integrity_findings.found_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.integrity_findings.found_by": "text not null",
      "column projection.integrity_findings.gone_at": "timestamp with time zone",
      "column projection.integrity_findings.id": "bigint not null generated always as identity",
      "column projection.integrity_findings.key": "text not null",
      "column projection.integrity_findings.position": "text not null",
      "column projection.integrity_findings.projection": "text not null",
      "column projection.integrity_findings.repaired_at": "timestamp with time zone",
      "column projection.integrity_findings.repaired_by": "text",
      "column projection.integrity_findings.rows_expected": "integer not null",
      "column projection.integrity_findings.rows_found": "integer not null",
      "column projection.integrity_findings.rows_removed": "integer",
      "column projection.integrity_findings.rows_written": "integer",
      "column projection.parked_streams.attempts": "integer not null default 1",
      "column projection.parked_streams.error": "text not null",
      "column projection.parked_streams.event_id": "uuid not null",
      "column projection.parked_streams.last_attempt_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.parked_streams.parked_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.parked_streams.position": "text not null",
      "column projection.parked_streams.projector": "text not null",
      "column projection.parked_streams.revision": "integer not null",
      "column projection.parked_streams.stream_id": "text not null",
      "column projection.parked_streams.type": "text not null",
      "column projection.projectors.events_folded": "bigint not null",
      "column projection.projectors.events_per_second": "double precision not null",
      "column projection.projectors.last_error": "text",
      "column projection.projectors.last_error_at": "timestamp with time zone",
      "column projection.projectors.leader": "text not null",
      "column projection.projectors.name": "text not null",
      "column projection.projectors.reported_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.projectors.state": "text not null",
      "column projection.rebuilds.basis": "text not null",
      "column projection.rebuilds.events": "bigint not null",
      "column projection.rebuilds.position": "text not null",
      "column projection.rebuilds.projection": "text not null",
      "column projection.rebuilds.started_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.rebuilds.total": "bigint not null",
      "column projection.rebuilds.updated_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.verifications.after_stream": "text not null default ''::text",
      "column projection.verifications.last_round_ended_at": "timestamp with time zone",
      "column projection.verifications.last_round_streams": "integer",
      "column projection.verifications.projector": "text not null",
      "column projection.verifications.round_began_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.verifications.skipped": "integer not null default 0",
      "column projection.verifications.streams": "integer not null default 0",
      "index projection.integrity_findings.integrity_findings_open": "CREATE UNIQUE INDEX integrity_findings_open ON projection.integrity_findings USING btree (projection, key) WHERE ((repaired_at IS NULL) AND (gone_at IS NULL))",
      "primary key projection.discarded_events": "PRIMARY KEY (projector, stream_id, revision)",
      "primary key projection.integrity_findings": "PRIMARY KEY (id)",
      "primary key projection.parked_streams": "PRIMARY KEY (projector, stream_id)",
      "primary key projection.projectors": "PRIMARY KEY (name)",
      "primary key projection.rebuilds": "PRIMARY KEY (projection)",
      "primary key projection.verifications": "PRIMARY KEY (projector)",
      "table projection.discarded_events": "",
      "table projection.integrity_findings": "",
      "table projection.parked_streams": "",
      "table projection.projectors": "fillfactor=50",
      "table projection.rebuilds": "fillfactor=50",
      "table projection.verifications": "fillfactor=50"
    }
  },
  "1790000006000": {
    "makes": {
      "column flight.frame_minutes_source.relation": "oid not null",
      "column flight.frame_minutes_touched.flight_id": "text collate \"C\" not null",
      "column timescale.archival_events.completed_at": "timestamp with time zone",
      "column timescale.archival_events.created_at": "timestamp with time zone not null default clock_timestamp()",
      "column timescale.archival_events.error_message": "text",
      "column timescale.archival_events.event_id": "uuid not null",
      "column timescale.archival_events.lakehouse_path": "text not null",
      "column timescale.archival_events.older_than": "timestamp with time zone not null",
      "column timescale.archival_events.status": "text not null",
      "column timescale.archival_events.table_name": "text not null",
      "column timescale.archival_events.table_schema": "text not null",
      "column timescale.archived_chunks.bytes": "bigint",
      "column timescale.archived_chunks.chunk_name": "text not null",
      "column timescale.archived_chunks.event_id": "uuid not null",
      "column timescale.archived_chunks.file": "text",
      "column timescale.archived_chunks.range_end": "timestamp with time zone not null",
      "column timescale.archived_chunks.range_start": "timestamp with time zone not null",
      "column timescale.archived_chunks.row_count": "bigint",
      "column timescale.archived_chunks.row_hash": "text",
      "column timescale.archived_chunks.sha256": "text",
      "column timescale.archived_chunks.state": "text not null",
      "column timescale.dropped_ranges.dropped_at": "timestamp with time zone not null default clock_timestamp()",
      "column timescale.dropped_ranges.range_end": "timestamp with time zone not null",
      "column timescale.dropped_ranges.range_start": "timestamp with time zone not null",
      "column timescale.dropped_ranges.reason": "text not null",
      "column timescale.dropped_ranges.table_name": "text not null",
      "column timescale.dropped_ranges.table_schema": "text not null",
      "column timescale.hypertables.compress_after": "interval",
      "column timescale.hypertables.created_at": "timestamp with time zone",
      "column timescale.hypertables.last_error": "text",
      "column timescale.hypertables.last_run_at": "timestamp with time zone",
      "column timescale.hypertables.retention": "interval",
      "column timescale.hypertables.table_name": "text not null",
      "column timescale.hypertables.table_schema": "text not null",
      "constraint timescale.archival_events.archival_events_status_check": "CHECK ((status = ANY (ARRAY['pending'::text, 'archiving'::text, 'verifying'::text, 'completed'::text, 'failed'::text])))",
      "constraint timescale.archived_chunks.archived_chunks_event_id_fkey": "FOREIGN KEY (event_id) REFERENCES timescale.archival_events(event_id) ON DELETE CASCADE",
      "constraint timescale.archived_chunks.archived_chunks_state_check": "CHECK ((state = ANY (ARRAY['pending'::text, 'written'::text, 'dropped'::text, 'restored'::text, 'gone'::text])))",
      "constraint timescale.dropped_ranges.dropped_ranges_reason_check": "CHECK ((reason = ANY (ARRAY['retention'::text, 'operator'::text, 'archive'::text])))",
      "constraint timescale.hypertables.hypertables_compress_after_check": "CHECK ((compress_after > '00:00:00'::interval))",
      "constraint timescale.hypertables.hypertables_retention_check": "CHECK ((retention > '00:00:00'::interval))",
      "function flight.create_frame_minutes()": "returns void language plpgsql volatile, source 4639fb2ecfd887be9c4644a6a4386ac3cb71a7e223d1553ad6a9f9e1217f60f7",
      "function flight.drop_frame_minutes()": "returns void language plpgsql volatile, source e6bab6d24aa05a2e1307b58e7db4814a3b0e0c3f769ed86b9dcdd3394a42377c",
      "function flight.great_circle_metres(lat1 double precision, lon1 double precision, lat2 double precision, lon2 double precision)": "returns double precision language sql immutable, source a3b49f83ad04c98eb17355a77a87b8a12f55c890371e79d2e97bbfb62dc23133",
      "function flight.path(double precision, double precision)": "returns double precision[] language internal immutable, source 47a318ba1be02bec16c33911fa02867727817a1c7824b78d7bd3dfb6542ff495",
      "function flight.path_step(path double precision[], lat double precision, lon double precision)": "returns double precision[] language plpgsql immutable, source 203c251a780603e8a4164f8b9905c8d951a65fbbcea293d924d74902648535bf",
      "primary key flight.frame_minutes_touched": "PRIMARY KEY (flight_id)",
      "primary key timescale.archival_events": "PRIMARY KEY (event_id)",
      "primary key timescale.archived_chunks": "PRIMARY KEY (event_id, range_start)",
      "primary key timescale.dropped_ranges": "PRIMARY KEY (table_schema, table_name, range_start, range_end)",
      "primary key timescale.hypertables": "PRIMARY KEY (table_schema, table_name)",
      "schema timescale": "",
      "table flight.frame_minutes_source": "",
      "table flight.frame_minutes_touched": "",
      "table timescale.archival_events": "",
      "table timescale.archived_chunks": "",
      "table timescale.dropped_ranges": "",
      "table timescale.hypertables": ""
    }
  },
  "1790000007000": {
    "makes": {
      "column projection.generation.only_row": "boolean not null default true",
      "column projection.generation.value": "bigint not null",
      "constraint projection.generation.generation_only_row_check": "CHECK (only_row)",
      "primary key projection.generation": "PRIMARY KEY (only_row)",
      "table projection.generation": ""
    }
  },
  "1790000008000": {
    "makes": {
      "column registry.models.definition": "jsonb not null",
      "column registry.models.name": "text not null",
      "column registry.models.registered_at": "timestamp with time zone not null default clock_timestamp()",
      "column registry.models.service_name": "text not null",
      "primary key registry.models": "PRIMARY KEY (service_name, name)",
      "schema registry": "",
      "table registry.models": ""
    }
  },
  "1790000009000": {
    "makes": {
      "column projection.folded_log.first_event_id": "uuid not null",
      "column projection.folded_log.first_position": "text not null",
      "column projection.folded_log.first_recorded_at": "timestamp with time zone not null",
      "column projection.folded_log.only_one": "boolean not null default true",
      "constraint projection.folded_log.folded_log_only_one_check": "CHECK (only_one)",
      "primary key projection.folded_log": "PRIMARY KEY (only_one)",
      "table projection.folded_log": ""
    }
  },
  "1790000010000": {
    "makes": {
      "column access.api_keys.created_at": "timestamp with time zone not null default clock_timestamp()",
      "column access.api_keys.expires_at": "timestamp with time zone",
      "column access.api_keys.hash": "bytea not null",
      "column access.api_keys.id": "text not null",
      "column access.api_keys.last_used_at": "timestamp with time zone",
      "column access.api_keys.name": "text not null",
      "column access.api_keys.revoked_at": "timestamp with time zone",
      "column access.api_keys.role": "text not null",
      "constraint access.api_keys.api_keys_hash_check": "CHECK ((octet_length(hash) = 32))",
      "constraint access.api_keys.api_keys_role_check": "CHECK ((role = ANY (ARRAY['reader'::text, 'operator'::text, 'admin'::text])))",
      "primary key access.api_keys": "PRIMARY KEY (id)",
      "schema access": "",
      "table access.api_keys": ""
    }
  },
  "1790000011000": {
    "makes": {}
  },
  "1790000012000": {
    "makes": {
      "column log.digest_heads.digest": "integer not null",
      "column log.digest_heads.hash": "bytea not null",
      "column log.digest_heads.revision": "integer not null",
      "column log.digest_heads.stream_id": "text not null",
      "column log.digests.document": "text not null",
      "column log.digests.key_id": "text not null",
      "column log.digests.number": "integer not null",
      "column log.digests.signature": "bytea not null",
      "column log.events.hash": "bytea not null",
      "constraint log.digests.digests_number_check": "CHECK ((number > 0))",
      "function log.append(p_streams text, p_expected integer[], p_requests integer[], p_ordinals integer[], p_ids uuid[], p_types text, p_versions integer[], p_data text, p_metadata text)": "returns TABLE(request integer, key bigint, accepted boolean, repeated boolean, first_revision integer, first_position bigint, current_revision integer) language plpgsql volatile, source 42dc2bbf654a90f94db19aaa42395eae5be6809e326300f3dc3d13b8b8b93d40",
      "function log.append_expected(p_keys bigint[], p_expected integer[], p_event_keys bigint[], p_revisions integer[], p_ids uuid[], p_types text, p_versions integer[], p_data text, p_metadata text)": "returns bigint language plpgsql volatile, source d0d8ca08db0f2c0590445c7ab2c1c46a57a8d41639843516c4000f4f900973e8",
      "function log.canonical(\"position\" bigint, revision integer, id uuid, type text, schema_version integer, recorded_at_us bigint, metadata text, data text)": "returns text language sql stable, source e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "function log.chain(bytea, text)": "returns bytea language internal immutable, source 47a318ba1be02bec16c33911fa02867727817a1c7824b78d7bd3dfb6542ff495",
      "function log.genesis(stream_id text)": "returns bytea language sql immutable, source e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "function log.link(state bytea, before bytea, event text)": "returns bytea language plpgsql immutable, source 7d50dbb375d1ebede9b019220d30dc98c7f8a30b9df0ec7e7bcd61cd0bbb6ea7",
      "index log.digest_heads.digest_heads_stream_id_digest_idx": "CREATE INDEX digest_heads_stream_id_digest_idx ON log.digest_heads USING btree (stream_id, digest DESC)",
      "primary key log.digest_heads": "PRIMARY KEY (digest, stream_id)",
      "primary key log.digests": "PRIMARY KEY (number)",
      "table log.digest_heads": "",
      "table log.digests": ""
    }
  },
  "1790000013000": {
    "makes": {
      "column log.data_keys.key": "bytea not null",
      "column log.data_keys.made_at": "timestamp with time zone not null default clock_timestamp()",
      "column log.data_keys.stream_id": "text not null",
      "constraint log.data_keys.data_keys_key_check": "CHECK ((octet_length(key) = 32))",
      "primary key log.data_keys": "PRIMARY KEY (stream_id)",
      "table log.data_keys": ""
    }
  },
  "1790000014000": {
    "makes": {
      "function log.append(p_streams text, p_expected integer[], p_requests integer[], p_ordinals integer[], p_ids uuid[], p_types text, p_versions integer[], p_data text, p_metadata text)": "returns TABLE(request integer, key bigint, accepted boolean, repeated boolean, first_revision integer, first_position bigint, current_revision integer) language plpgsql volatile set plan_cache_mode=force_generic_plan, source 42dc2bbf654a90f94db19aaa42395eae5be6809e326300f3dc3d13b8b8b93d40",
      "function log.append_expected(p_keys bigint[], p_expected integer[], p_event_keys bigint[], p_revisions integer[], p_ids uuid[], p_types text, p_versions integer[], p_data text, p_metadata text)": "returns bigint language plpgsql volatile set plan_cache_mode=force_generic_plan, source d0d8ca08db0f2c0590445c7ab2c1c46a57a8d41639843516c4000f4f900973e8"
    }
  },
  "1790000015000": {
    "makes": {
      "column timescale.known_chunks.chunk_name": "text not null",
      "column timescale.known_chunks.range_end": "timestamp with time zone not null",
      "column timescale.known_chunks.range_start": "timestamp with time zone not null",
      "column timescale.known_chunks.relation": "oid not null",
      "column timescale.known_chunks.table_name": "text not null",
      "column timescale.known_chunks.table_schema": "text not null",
      "primary key timescale.known_chunks": "PRIMARY KEY (relation, chunk_name)",
      "table timescale.known_chunks": ""
    },
    "drops": [
      "function flight.create_frame_minutes()",
      "function flight.drop_frame_minutes()"
    ]
  },
  "1790000020000": {
    "makes": {}
  },
  "1790000021000": {
    "makes": {
      "column log.data_keys.key": "bytea"
    }
  },
  "1790000022000": {
    "makes": {
      "column projection.checkpoints.parkings": "integer not null default 0",
      "column projection.integrity_findings.error": "text"
    }
  },
  "1790000023000": {
    "makes": {
      "column log.histories.began_at": "timestamp with time zone not null default clock_timestamp()",
      "column log.histories.kept_position": "text not null",
      "column log.histories.number": "integer not null",
      "column log.histories.resumes_after": "text not null",
      "column log.histories.written_by": "text",
      "column log.losses.acknowledged_at": "timestamp with time zone",
      "column log.losses.acknowledged_by": "text",
      "column log.losses.acknowledgement": "text",
      "column log.losses.commands": "bigint",
      "column log.losses.events": "bigint",
      "column log.losses.id": "integer not null generated always as identity",
      "column log.losses.kept_at": "timestamp with time zone",
      "column log.losses.kept_position": "text not null",
      "column log.losses.noticed_at": "timestamp with time zone not null default clock_timestamp()",
      "column log.losses.noticed_by": "text not null",
      "column log.losses.seen_at": "timestamp with time zone",
      "column log.losses.seen_position": "text not null",
      "column log.losses.streams": "jsonb not null",
      "function log.append(p_streams text, p_expected integer[], p_requests integer[], p_ordinals integer[], p_ids uuid[], p_types text, p_versions integer[], p_data text, p_metadata text)": "returns TABLE(request integer, key bigint, accepted boolean, repeated boolean, first_revision integer, first_position bigint, current_revision integer) language plpgsql volatile set plan_cache_mode=force_generic_plan, source 031f6d41bd52965c925f41b530d4809fd16c3fdfbde6d64de1ebbe2672a7e409",
      "function log.append_expected(p_keys bigint[], p_expected integer[], p_event_keys bigint[], p_revisions integer[], p_ids uuid[], p_types text, p_versions integer[], p_data text, p_metadata text)": "returns bigint language plpgsql volatile set plan_cache_mode=force_generic_plan, source f150df9253e5b3d15fc7e62a25aeccf1df4513ebf35537a0618617bfc886c102",
      "function log.begin_history(p_position bigint, p_id uuid, OUT history integer, OUT kept boolean)": "returns record language plpgsql volatile, source f44ade3fb2eb99c1f5ab3e0fefbea203d1fff534f82a93af279d2956d45bcc15",
      "function log.holds(p_history integer, p_position bigint, p_id uuid)": "returns boolean language plpgsql volatile, source 77769f5f9181eb02c2e4de55f434cffb608719e6ef9dd4a2fdd096d04bed0457",
      "function log.written_by()": "returns text language sql volatile, source 7d7c31ac7a3244dca1ea2c2d3db429f290b5cd0205a96653801689a8e25bc976",
      "primary key log.histories": "PRIMARY KEY (number)",
      "primary key log.losses": "PRIMARY KEY (id)",
      "table log.histories": "",
      "table log.losses": ""
    }
  },
  "1790000024000": {
    "makes": {
      "index flight.chunks.chunks_active": "CREATE INDEX chunks_active ON flight.chunks USING btree (flight_id, is_active)",
      "index flight.chunks.chunks_matching": "CREATE INDEX chunks_matching ON flight.chunks USING btree (flight_id, matching_status)",
      "index flight.flight_state.flight_state_updated": "CREATE INDEX flight_state_updated ON flight.flight_state USING btree (updated_at, flight_id)"
    }
  },
  "1790000025000": {
    "makes": {
      "column access.api_keys.created": "jsonb",
      "column access.api_keys.revoked": "jsonb"
    }
  },
  "1790000026000": {
    "makes": {
      "column projection.parked_streams.accepted_at": "timestamp with time zone",
      "column projection.parked_streams.accepted_by": "text",
      "column projection.parked_streams.accepted_reason": "text",
      "column projection.parked_streams.missing_to": "integer",
      "constraint projection.parked_streams.parked_streams_accepted_check": "CHECK ((num_nulls(accepted_at, accepted_by, accepted_reason, missing_to) = ANY (ARRAY[0, 4])))"
    }
  },
  "1790000027000": {
    "makes": {
      "column projection.checkpoints.projector": "text not null",
      "column projection.folded_log.projector": "text not null",
      "column projection.integrity_findings.projector": "text not null",
      "column projection.rebuilds.projector": "text not null",
      "index projection.integrity_findings.integrity_findings_open": "CREATE UNIQUE INDEX integrity_findings_open ON projection.integrity_findings USING btree (projector, projection, key) WHERE ((repaired_at IS NULL) AND (gone_at IS NULL))",
      "primary key projection.checkpoints": "PRIMARY KEY (projector, projection)",
      "primary key projection.folded_log": "PRIMARY KEY (projector)",
      "primary key projection.rebuilds": "PRIMARY KEY (projector, projection)"
    },
    "drops": [
      "column projection.folded_log.only_one",
      "constraint projection.folded_log.folded_log_only_one_check"
    ]
  },
  "1790000028000": {
    "makes": {
      "column projection.contexts.name": "text not null",
      "primary key projection.contexts": "PRIMARY KEY (name)",
      "table projection.contexts": ""
    }
  },
  "1790000029000": {
    "makes": {
      "function log.append_together(p_streams text, p_expected integer[], p_requests integer[], p_ordinals integer[], p_ids uuid[], p_types text, p_versions integer[], p_data text, p_metadata text)": "returns TABLE(request integer, key bigint, accepted boolean, repeated boolean, first_revision integer, first_position bigint, current_revision integer) language plpgsql volatile, source ad288618f33cd32bd4b65278d6f485cc8f313c0845c4fd6a23a99d5bb09a6221"
    }
  },
  "1790000030000": {
    "makes": {
      "column flight.image_contents.flight_id": "text collate \"C\" not null",
      "column flight.image_contents.frame_id": "integer not null",
      "column flight.image_contents.sha256": "text not null",
      "column flight.image_contents.size": "double precision not null",
      "column flight.image_contents.stored_at": "timestamp with time zone not null",
      "column flight.image_contents.type": "text not null",
      "constraint flight.image_contents.image_contents_frame_id_check": "CHECK ((frame_id >= 0))",
      "constraint flight.image_contents.image_contents_size_check": "CHECK ((size > (0)::double precision))",
      "primary key flight.image_contents": "PRIMARY KEY (flight_id, frame_id)",
      "table flight.image_contents": ""
    }
  },
  "1790000031000": {
    "makes": {
      "column log.erasing_types.category": "text collate \"C\" not null",
      "column log.erasing_types.type": "text not null",
      "primary key log.erasing_types": "PRIMARY KEY (category, type)",
      "table log.erasing_types": ""
    }
  },
  "1790000032000": {
    "makes": {
      "column projection.reactions.attempts": "integer not null default 1",
      "column projection.reactions.error": "text not null",
      "column projection.reactions.event_id": "uuid not null",
      "column projection.reactions.failed_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.reactions.last_attempt_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.reactions.next_attempt_at": "timestamp with time zone",
      "column projection.reactions.position": "text not null",
      "column projection.reactions.reactor": "text not null",
      "column projection.reactions.revision": "integer not null",
      "column projection.reactions.stream_id": "text not null",
      "column projection.reactions.type": "text not null",
      "column projection.reactors.first_event_id": "uuid",
      "column projection.reactors.moved_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.reactors.name": "text not null",
      "column projection.reactors.pause_reason": "text",
      "column projection.reactors.paused_at": "timestamp with time zone",
      "column projection.reactors.paused_by": "text",
      "column projection.reactors.position": "text",
      "column projection.reactors.resets": "integer not null default 0",
      "column projection.reactors.version": "integer not null",
      "column projection.sent_deadlines.attempts": "integer not null",
      "column projection.sent_deadlines.deadline": "text not null",
      "column projection.sent_deadlines.due_at": "timestamp with time zone not null",
      "column projection.sent_deadlines.error": "text",
      "column projection.sent_deadlines.id": "text not null",
      "column projection.sent_deadlines.key": "text not null",
      "column projection.sent_deadlines.last_attempt_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.sent_deadlines.next_attempt_at": "timestamp with time zone",
      "column projection.sent_deadlines.revision": "integer not null",
      "column projection.sent_deadlines.skip_reason": "text",
      "column projection.sent_deadlines.skipped_by": "text",
      "column projection.skipped_reactions.error": "text not null",
      "column projection.skipped_reactions.event_id": "uuid not null",
      "column projection.skipped_reactions.reactor": "text not null",
      "column projection.skipped_reactions.reason": "text not null",
      "column projection.skipped_reactions.revision": "integer not null",
      "column projection.skipped_reactions.skipped_at": "timestamp with time zone not null default clock_timestamp()",
      "column projection.skipped_reactions.skipped_by": "text not null",
      "column projection.skipped_reactions.stream_id": "text not null",
      "column projection.skipped_reactions.type": "text not null",
      "constraint projection.reactors.reactors_paused_check": "CHECK ((num_nulls(paused_at, paused_by, pause_reason) = ANY (ARRAY[0, 3])))",
      "index projection.reactions.reactions_due": "CREATE INDEX reactions_due ON projection.reactions USING btree (reactor, next_attempt_at)",
      "primary key projection.reactions": "PRIMARY KEY (reactor, stream_id)",
      "primary key projection.reactors": "PRIMARY KEY (name)",
      "primary key projection.sent_deadlines": "PRIMARY KEY (deadline, id, key)",
      "primary key projection.skipped_reactions": "PRIMARY KEY (reactor, stream_id, revision)",
      "table projection.reactions": "",
      "table projection.reactors": "",
      "table projection.sent_deadlines": "",
      "table projection.skipped_reactions": ""
    }
  }
};
