/** What the import reads of a topic. `prefix` is the nested message that holds the fields, where there is one. */
export interface WantedTopic {
  readonly prefix?: string;
  readonly fields: readonly string[];
  /** For what is said once, not measured again and again: no message is left out for being near to another. */
  readonly everyMessage?: boolean;
}

const GPS = [
  // Until PX4 1.13: int32, 1e-7 degrees and millimetres.
  'lat',
  'lon',
  'alt',
  // From PX4 1.14: doubles, degrees and metres.
  'latitude_deg',
  'longitude_deg',
  'altitude_msl_m',
  // sensor_gnss and vehicle_gnss (PX4 after 1.16): the same under other names.
  'latitude',
  'longitude',
  'altitude_msl',
  'fix_type',
  'eph',
  'time_utc_usec',
  'timestamp_time_relative',
  'heading',
];

/**
 * The topics of the import with the fields of all PX4 versions; a log has some of each. Names, units and frames are
 * those of PX4-Autopilot's msg/*.msg and msg/versioned/*.msg.
 */
export const WANTED: Readonly<Record<string, WantedTopic>> = {
  // Degrees, metres AMSL. time_utc_usec and yaw are gone since PX4 1.8; the valid flags came with 1.16.
  vehicle_global_position: {
    fields: ['lat', 'lon', 'alt', 'eph', 'lat_lon_valid', 'alt_valid', 'time_utc_usec', 'yaw'],
  },
  vehicle_gps_position: { fields: GPS },
  vehicle_gnss: { prefix: 'receiver.', fields: GPS },
  sensor_gps: { fields: GPS },
  sensor_gnss: { fields: GPS },
  // Metres north, east and down from the reference. The heading was called yaw until PX4 1.11.
  vehicle_local_position: {
    fields: [
      'x',
      'y',
      'z',
      'xy_valid',
      'z_valid',
      'xy_global',
      'z_global',
      'ref_lat',
      'ref_lon',
      'ref_alt',
      'eph',
      'heading',
      'yaw',
    ],
  },
  // Rotation from NED to the body, w x y z. roll, pitch and yaw stood beside it until PX4 1.6.
  vehicle_attitude: { fields: ['q[0]', 'q[1]', 'q[2]', 'q[3]', 'yaw'] },
  // Until the altitude has been set it is 0; older logs have no valid_alt to say so.
  home_position: { everyMessage: true, fields: ['alt', 'valid_alt'] },
  navigator_mission_item: {
    everyMessage: true,
    fields: ['latitude', 'longitude', 'altitude', 'altitude_is_relative', 'nav_cmd'],
  },
  position_setpoint_triplet: {
    everyMessage: true,
    prefix: 'current.',
    fields: ['lat', 'lon', 'alt', 'valid', 'type'],
  },
};

/** The topics that can give positions, the preferred first. */
export const POSITION_TOPICS = [
  'vehicle_global_position',
  'vehicle_gps_position',
  'vehicle_gnss',
  'sensor_gps',
  'sensor_gnss',
  'vehicle_local_position',
] as const;

export const GPS_TOPICS: readonly string[] = [
  'vehicle_gps_position',
  'vehicle_gnss',
  'sensor_gps',
  'sensor_gnss',
];
