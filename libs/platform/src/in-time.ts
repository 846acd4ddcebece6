/** Resolves like `answer`, or throws the error of `late` if that takes longer; a later result is ignored. */
export const inTime = <T>(milliseconds: number, answer: Promise<T>, late: () => Error): Promise<T> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(late()), milliseconds);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
