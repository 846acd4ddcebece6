// The flight of a UAV that works out its own position: waylog/flight.
export * from '#lib/flight';
